package consensus

import (
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// configure accepts a configuration that the proposer in office proposes to follow
// the one in force. It is a promise like a vote: durable before it is answered,
// and told to every later proposer that asks for a vote, which has to propose it
// again. Nothing is done by it until the members are known to have chosen it.
func (a *Acceptor) configure(c *connection, m *pushwal.ConfigurationRequest) (Effects, error) {
	if err := a.checkGeneration(m.Generation); err != nil {
		return Effects{}, err
	}
	if m.Term < a.state.Term {
		return Effects{Send: []Outgoing{{c.id, a.configured()}}}, nil
	}
	switch s := &a.state; {
	case a.Joining():
		return Effects{}, errf(ErrNotMember, "node %d is joining and accepts no membership", a.id)
	case m.Term > s.Term || !a.following || !c.elected || c.term != m.Term:
		return Effects{}, errf(ErrProtocol, "a membership of term %d before its proposer's election was announced here", m.Term).term(m.Term)
	case s.Accepted == AcceptedConfig{m.Config.Generation, m.Term} && !sameConfiguration(s.Proposed, m.Config):
		return Effects{}, errf(ErrConfiguration, "the proposer of term %d proposes two memberships of generation %d", m.Term, m.Config.Generation).term(m.Term)
	}
	if err := checkSuccessor(a.state.Configuration, m.Config); err != nil {
		return Effects{}, err
	}
	a.state.Proposed = m.Config
	a.state.Accepted = AcceptedConfig{m.Config.Generation, m.Term}
	return Effects{Save: a.save(), Send: []Outgoing{{c.id, a.configured()}}}, nil
}

// configured says what was accepted.
func (a *Acceptor) configured() *pushwal.ConfigurationResponse {
	r := &pushwal.ConfigurationResponse{Generation: a.state.Configuration.Generation, Term: a.state.Term}
	if g := a.state.Proposed.Generation; g != 0 {
		r.Accepted, r.AcceptedTerm = g, a.state.Accepted.Term
	}
	return r
}

// proposedTerm is the term in which Proposed was accepted, 0 without one.
func (a *Acceptor) proposedTerm() wal.Term {
	if a.state.Proposed.Generation == 0 {
		return 0
	}
	return a.state.Accepted.Term
}

// checkInstall judges a configuration that a proposer says to be in force.
func (a *Acceptor) checkInstall(m *pushwal.ProposerGreeting) error {
	g := a.state.Configuration.Generation
	if g == 0 || m.Instance.IsZero() {
		return errf(ErrConfiguration, "the greeting carries membership generation %d, node %d has %d", m.Config.Generation, a.id, g)
	}
	return checkInForce(m.Config)
}

func checkInForce(c pushwal.Configuration) error {
	if err := c.Validate(); err != nil {
		e := errf(ErrConfiguration, "membership generation %d is invalid", c.Generation)
		e.Err = err
		return e
	}
	return nil
}

// install puts a configuration in force that its members have chosen, of a newer
// generation than the own one; some may have been missed. A node that was joining
// votes and counts from now on if this very data directory is named for the first
// time: one that was meant all along has lost the timeline, and what it promised. One
// that is not named any more joins if it is ever wanted again.
func (a *Acceptor) install(c pushwal.Configuration) {
	s := &a.state
	was := len(membersOf(s.Configuration, a.id)) > 0 && !lostData(s.Configuration, a.id, s.Incarnation)
	s.Configuration = c
	if s.Proposed.Generation <= c.Generation {
		s.Proposed, s.Accepted = pushwal.Configuration{}, AcceptedConfig{Generation: c.Generation}
	}
	switch is := names(c, a.id, s.Incarnation); {
	case is && !was:
		s.Joining = false
	case len(membersOf(c, a.id)) == 0:
		s.Joining = true
	}
}

// Install puts a configuration in force of which another member said that it is.
// An older one changes nothing.
func (a *Acceptor) Install(c pushwal.Configuration) (Effects, error) {
	if a.lost != nil {
		return Effects{}, a.lost
	}
	g := a.state.Configuration.Generation
	if c.Generation <= g || g == 0 {
		return Effects{}, nil
	}
	if err := checkInForce(c); err != nil {
		return Effects{}, err
	}
	a.install(c)
	return Effects{Save: a.save()}, nil
}

// Force puts a configuration in force that nobody has chosen, on an operator's word
// that the members it leaves out are gone for good, and that the loss of what lies
// behind upto is accepted. It is for members whose quorum does not exist any more:
// what those that are gone had acknowledged and this one lacks is lost, and if they
// are not gone after all, both halves take WAL. The same one again changes nothing.
//
// It is refused by a node that would bring in a promise that it does not keep: one
// that is joining, one that c does not name, and one that knows more to be committed
// than upto.
func (a *Acceptor) Force(c pushwal.Configuration, upto wal.LSN) (Effects, error) {
	if a.lost != nil {
		return Effects{}, a.lost
	}
	s := &a.state
	switch own := s.Configuration; {
	case sameConfiguration(own, c):
		return Effects{}, nil
	case own.Generation == 0 || c.Generation <= own.Generation:
		return Effects{}, errf(ErrConfiguration, "membership generation %d cannot be forced in front of generation %d", c.Generation, own.Generation)
	case c.Joint():
		return Effects{}, errf(ErrConfiguration, "a joint membership cannot be forced")
	case a.Joining() || !names(c, a.id, s.Incarnation):
		return Effects{}, errf(ErrNotMember, "node %d is joining, or is not named as it is, and must not be a survivor", a.id).node(a.id)
	case s.CommitLSN > upto:
		return Effects{}, errf(ErrPosition, "node %d knows WAL up to %s to be committed, loss was accepted behind %s only", a.id, s.CommitLSN, upto).node(a.id).at(s.CommitLSN)
	}
	if err := checkInForce(c); err != nil {
		return Effects{}, err
	}
	a.install(c)
	return Effects{Save: a.save()}, nil
}
