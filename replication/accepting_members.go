package replication

import (
	"fmt"

	"github.com/walhaven/walhaven/protocol/pushwal"
)

// Install puts a membership in force of which another member said that it is. One
// that is not newer than the own changes nothing.
func (a *Accepting) Install(c pushwal.Configuration) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed != nil {
		return a.closed
	}
	e, err := a.acceptor.Install(c)
	if err != nil {
		return fmt.Errorf("take membership generation %d: %w", c.Generation, err)
	}
	if e.Save == nil {
		return nil
	}
	if err := a.makeDurable(&e); err != nil {
		a.rebuild(err)
		return diskError(err)
	}
	a.logger.Info("membership learned from a peer", "generation", uint32(c.Generation), "members", FormatMembers(c.Members))
	a.publish()
	return nil
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
		if streaming && s.revision >= pushwal.Revision && !s.recovery {
			s.queue(&pushwal.MembershipRequest{Config: c}, false)
			told++
		}
	}
	return told
}
