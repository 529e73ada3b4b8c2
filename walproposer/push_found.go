package walproposer

import (
	"context"
	"fmt"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
)

// found makes the timeline on a member that has lost it, so that it can be fed.
// It will not count until the members have accepted it.
func (t *term) found(ctx context.Context, peer int) error {
	all := t.peers.statuses(ctx, nil)
	s, ok := newestMember(all, t.d.Configuration().Generation)
	if !ok {
		return errNoTimeline
	}
	id := t.d.ID()
	f := foundationOf(id, "", s.Status)
	if err := f.beginAt(all); err != nil {
		return err
	}
	m, err := t.peers.member(ctx, peer)
	if err != nil {
		return err
	}
	if !f.config.Has(m.ID) {
		return fmt.Errorf("node %d is no member", m.ID)
	}
	if f.name, err = t.peers.nameOf(ctx, id); err != nil {
		return err
	}
	// Even with its old incarnation: it may have voted before it lost the
	// timeline.
	statement := f.statement(true)
	t.logger.Warn("a member lacks the timeline and joins anew", "safekeeper", t.peers.address(peer), "statement", statement)
	_, err = t.peers.query(ctx, peer, statement, foundTimeout)
	return err
}

// newestMember is who knows the newest membership, of those that answer and know the
// generation in force. One that missed a change may know a node by the data directory
// that was replaced: told so, the one that came would take the change for its coming
// as a member, though it has lost what it acknowledged as one.
func newestMember(all []replication.Answer, inForce pushwal.Generation) (best replication.Answer, ok bool) {
	for _, a := range all {
		g := a.Configuration.Generation
		if a.Err == nil && !a.Joining && g >= inForce && (!ok || g > best.Configuration.Generation) {
			best, ok = a, true
		}
	}
	return best, ok
}
