package replication

import (
	"fmt"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
)

// Install puts a membership in force of which another member said that it is. One
// that is not newer than the own changes nothing.
func (a *Accepting) Install(c pushwal.Configuration) error {
	saved, err := a.takeMembers(func(acceptor *consensus.Acceptor) (consensus.Effects, error) { return acceptor.Install(c) })
	if err != nil {
		return fmt.Errorf("take membership generation %d: %w", c.Generation, err)
	}
	if saved {
		a.logger.Info("membership learned from a peer", "generation", uint32(c.Generation), "members", FormatMembers(c.Members))
	}
	return nil
}

// Force puts a membership in force on an operator's word, who accepts the loss of
// WAL behind upto; see consensus.Acceptor.Force. It is durable afterwards.
func (a *Accepting) Force(c pushwal.Configuration, upto wal.LSN) error {
	saved, err := a.takeMembers(func(acceptor *consensus.Acceptor) (consensus.Effects, error) { return acceptor.Force(c, upto) })
	if err != nil {
		return fmt.Errorf("force membership generation %d: %w", c.Generation, err)
	}
	if saved {
		a.logger.Warn("membership forced by an operator", "generation", uint32(c.Generation), "members", FormatMembers(c.Members), "accepted_loss_after", upto.String())
	}
	return nil
}

// takeMembers has the acceptor change its membership, makes it durable, and says
// whether there was anything to change.
func (a *Accepting) takeMembers(change func(*consensus.Acceptor) (consensus.Effects, error)) (saved bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed != nil {
		return false, a.closed
	}
	e, err := change(a.acceptor)
	if err != nil || e.Save == nil {
		return false, err
	}
	if err := a.makeDurable(&e); err != nil {
		a.rebuild(err)
		return false, diskError(err)
	}
	a.publish()
	return true, nil
}

// RequestMembers passes an operator's wish on to the proposers that write here and
// know such wishes, and returns how many were told. Nothing is kept: whoever wants
// something repeats it until the membership has changed.
func (a *Accepting) RequestMembers(c pushwal.Configuration) (told int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.sessions {
		s.out.mu.Lock()
		streaming := s.out.last != nil
		s.out.mu.Unlock()
		if streaming && s.revision >= pushwal.RevisionMembership && !s.recovery {
			s.queue(&pushwal.MembershipRequest{Config: c}, false)
			told++
		}
	}
	return told
}
