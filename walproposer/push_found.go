package walproposer

import (
	"context"
	"fmt"
)

// found makes the timeline on a member that has lost it, so that it can be fed.
// It will not count until the members have accepted it.
func (t *term) found(ctx context.Context, peer int) error {
	all := t.peers.statuses(ctx, nil)
	for _, s := range all {
		if s.Err != nil || s.Joining {
			continue
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
		if !isMember(f.config, m.ID) {
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
	return errNoTimeline
}
