package walproposer

import (
	"context"
	"fmt"

	"github.com/walhaven/walhaven/protocol/pushwal"
)

// found makes the timeline on a member that has lost it, so that it can be fed.
// It will not count until the members have accepted it.
func (p *pusher) found(ctx context.Context) error {
	for _, s := range p.t.peers.statuses(ctx) {
		if s.err != nil || s.Joining {
			continue
		}
		id := p.t.d.ID()
		f := foundationOf(id, "", s.Status)
		m, err := p.t.peers.member(ctx, p.peer)
		if err != nil {
			return err
		}
		if !isMember(f.config, m.ID) {
			return fmt.Errorf("node %d is no member", m.ID)
		}
		if f.name, err = p.t.peers.nameOf(ctx, id); err != nil {
			return err
		}
		// Even with its old incarnation: it may have voted before it lost the
		// timeline.
		statement := f.without(m.ID).statement(true)
		p.t.logger.Warn("a member lacks the timeline and joins anew", "safekeeper", p.t.peers.address(p.peer), "statement", statement)
		_, err = p.t.peers.query(ctx, p.peer, statement, pushTimeout)
		return err
	}
	return errNoTimeline
}

// without is f as a joining node is told it: what incarnation the members know
// of it is theirs to say.
func (f foundation) without(node pushwal.NodeID) *foundation {
	f.config.Members = append([]pushwal.Member{}, f.config.Members...)
	for i := range f.config.Members {
		if f.config.Members[i].ID == node {
			f.config.Members[i].Incarnation = pushwal.Incarnation{}
		}
	}
	return &f
}
