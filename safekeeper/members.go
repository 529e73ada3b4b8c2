package safekeeper

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/admin"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
)

// membershipOptions are those of CHANGE MEMBERS.
var membershipOptions = []admin.Arg{
	{Name: "generation", Kind: admin.KindUint32, Help: "Generation of the membership that this one takes over from."},
	{Name: "members", Help: "The members to have, like 1=host:5454,2=host:5454,3=host:5454."},
	{Name: "incarnations", Help: "Their incarnations, like 1=<hex>,2=<hex>,3=<hex>; see TIMELINE_STATUS on each."},
}

// forceMembers puts a membership in force here on an operator's word. The generation
// is the one that it gets.
func (s *Server) forceMembers(_ context.Context, t *timeline, call *admin.Call, emit admin.Emit) error {
	options := maps.Clone(call.Options)
	upto, err := wal.ParseLSN(options["accept_loss_after"])
	if err != nil {
		return protocol.Errorf(protocol.CodeInvalidParameter, "FORCE MEMBERS: accept_loss_after: %w", err)
	}
	delete(options, "accept_loss_after")
	c, err := parseWish("FORCE MEMBERS", options)
	if err != nil {
		return err
	}
	if err := t.accepting.Force(c, upto); err != nil {
		return protocol.Errorf(protocol.CodeNotInState, "%w", err)
	}
	status := t.accepting.Status()
	return emit(status.Configuration.Generation, status.FlushLSN)
}

// changeMembers passes an operator's wish on to the proposer that writes here. It
// changes nothing by itself, and is repeated until the membership has changed.
func (s *Server) changeMembers(_ context.Context, t *timeline, call *admin.Call, emit admin.Emit) error {
	c, err := parseWish("CHANGE MEMBERS", call.Options)
	if err != nil {
		return err
	}
	own := t.accepting.Status().Configuration
	if own.Generation != c.Generation {
		return protocol.Errorf(protocol.CodeNotInState, "the membership is of generation %d here, not of %d", own.Generation, c.Generation).
			WithHint("Look at the members again: TIMELINE_STATUS.")
	}
	return emit(own.Generation, t.accepting.RequestMembers(c))
}

// parseWish reads the options of a command about members.
func parseWish(command string, options map[string]string) (c pushwal.Configuration, err error) {
	p := &optionParser{options: options}
	generation := uint64(0)
	p.take("generation", func(v string) error { _, err := fmt.Sscan(v, &generation); return err })
	p.take("members", func(v string) (err error) { c.Members, err = parseMembers(v); return err })
	p.take("incarnations", func(v string) error { return replication.SetIncarnations(c.Members, v) })
	if err := p.finish(); err != nil {
		return c, err
	}
	c.Generation = pushwal.Generation(generation)
	c.Members = sortedMembers(c.Members)
	if err := c.Validate(); err != nil {
		return c, protocol.Errorf(protocol.CodeInvalidParameter, "%s: %w", command, err)
	}
	for _, m := range c.Members {
		if m.Incarnation.IsZero() {
			return c, protocol.Errorf(protocol.CodeInvalidParameter, "%s: the incarnation of node %d is required", command, m.ID)
		}
	}
	return c, nil
}

// comingMembers are those of the membership that this node has accepted who are no
// members yet. It may be in force, and one of them the only node that its proposer had
// the time to tell: the members would not hear of it from each other.
func comingMembers(own replication.Status) []pushwal.Member {
	return slices.DeleteFunc(own.Proposed.All(), func(m pushwal.Member) bool {
		return m.ID == own.NodeID || slices.ContainsFunc(own.Configuration.All(), func(o pushwal.Member) bool {
			return o.ID == m.ID && o.Incarnation == m.Incarnation
		})
	})
}

// learnMembers takes the newest membership that a peer knows to be in force. Who
// is not named in it takes it once a majority of those who are named say so: its
// vote may be needed in the one before.
func learnMembers(t *timeline, own replication.Status, answers []peer) error {
	best := own.Configuration
	for _, a := range answers {
		if a.err == nil && !a.status.Joining && a.status.Configuration.Generation > best.Generation {
			best = a.status.Configuration
		}
	}
	if best.Generation == own.Configuration.Generation || best.Generation == 0 || own.Configuration.Generation == 0 {
		return nil
	}
	if !isNamed(best, own) && !established(best, answers) {
		return nil
	}
	return t.accepting.Install(best)
}

func isNamed(c pushwal.Configuration, s replication.Status) bool {
	return slices.ContainsFunc(c.All(), func(m pushwal.Member) bool { return m.ID == s.NodeID && m.Incarnation == s.Incarnation })
}

// established says whether a majority of each set says that c is in force.
func established(c pushwal.Configuration, answers []peer) bool {
	return c.Majority(func(m pushwal.Member) bool {
		return slices.ContainsFunc(answers, func(a peer) bool {
			return a.err == nil && a.status.NodeID == m.ID && a.status.Incarnation == m.Incarnation && a.status.Configuration.Generation == c.Generation
		})
	})
}
