package operator

import (
	"context"
	"errors"
	"fmt"

	program "github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/internal/pause"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
)

// withdrawRounds is how often a wish is taken back that nothing has come of: what the
// walproposer proposed just before shows within one of them.
const withdrawRounds = 3

// AbortChange takes back a change of the members that was begun: a wish that a new
// member is still being filled for, or, once both sets have to agree, by leaving that
// state for the old members. It returns the membership that is in force then. The
// command that began it must have ended, or it begins anew. An error is an
// ErrChangedOtherwise when the change went through before.
func (c *Cluster) AbortChange(ctx context.Context, o MemberChange) (*Members, error) {
	o = o.withProgress()
	ctx, cancel := o.bounded(ctx)
	defer cancel()
	now, err := c.knownMembers(ctx, o)
	for round := 0; err == nil && !now.Joint; round++ {
		want := pushwal.Configuration{Generation: now.view.Config.Generation, Members: now.view.Config.Members}
		if round == withdrawRounds {
			o.Progress(fmt.Sprintf("generation %d stays: nobody is wanted besides", now.Generation))
			c.noteMembers(ctx, now, o.Progress) // A change that came through may have ended before it did.
			return now, nil
		}
		statement := changeStatement(want)
		if round == 0 {
			o.Progress(statement)
		}
		if err = c.ask(ctx, now, statement); err != nil {
			break
		}
		if err = pause.For(ctx, memberLookEvery); err == nil {
			now, err = c.knownMembers(ctx, o)
		}
	}
	if err != nil {
		return nil, err
	}
	return c.goBack(ctx, o, now)
}

// goBack leaves a joint configuration for its old members.
func (c *Cluster) goBack(ctx context.Context, o MemberChange, now *Members) (*Members, error) {
	old := now.view.Config.Members
	o.Progress(fmt.Sprintf("generation %d is joint; it is left for the old members: %s", now.Generation, replication.FormatMembers(old)))
	o.back = true
	invariant.Point("operator/member/back")
	m, err := c.drive(ctx, o, now, pushwal.Configuration{Generation: now.view.Config.Generation, Members: old})
	if errors.Is(err, ErrChangedOtherwise) {
		return m, program.Explain(err, "The change had gone through, or was proposed already.",
			"Make it undone by another change: walhaven member list, then add, remove or replace.")
	}
	if err == nil {
		c.noteMembers(ctx, m, o.Progress)
	}
	return m, err
}

// takesBack says whether removing a node is taking back the joint configuration that
// brings it.
func (o MemberChange) takesBack(c pushwal.Configuration) bool {
	if !c.Joint() || o.Remove == 0 || o.Add != "" {
		return false
	}
	rest := make([]pushwal.Member, 0, len(c.NewMembers))
	for _, m := range c.NewMembers {
		if m.ID != o.Remove {
			rest = append(rest, m)
		}
	}
	return len(rest) < len(c.NewMembers) && sameSet(rest, c.Members)
}
