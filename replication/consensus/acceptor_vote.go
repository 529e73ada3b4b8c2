package consensus

import (
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// greet checks that the proposer means this timeline, in the order of Neon's
// acceptor, but refuses another system identifier, which Neon's only warns of
// and takes over: a stock server of another cluster must not overwrite this one.
func (a *Acceptor) greet(conn ConnID, m *pushwal.ProposerGreeting) (Effects, error) {
	if err := a.checkIdentity(m); err != nil {
		return Effects{}, err
	}
	if tli := known(a.state.TLIHistory).Last; m.Instance.IsZero() && tli > 1 {
		return Effects{}, errf(ErrNegotiation, "this WAL is on PostgreSQL timeline %d, and the proposer did not ask for the options that can say so", tli)
	}
	var e Effects
	newer := m.Config.Generation > a.state.Configuration.Generation
	if newer {
		if err := a.checkInstall(m); err != nil {
			return Effects{}, err
		}
		a.install(m.Config)
	}
	founded := a.state.SystemID == 0 && m.SystemID != 0
	if founded {
		a.state.SystemID = m.SystemID
	}
	if newer || founded {
		e.Save = a.save()
	}
	a.conns[conn] = &connection{id: conn, instance: m.Instance}
	e.Send = []Outgoing{{conn, &pushwal.AcceptorGreeting{
		NodeID: a.id,
		Config: a.state.Configuration,
		Term:   a.state.Term,
		Options: &pushwal.AcceptorOptions{
			Walhaven:    pushwal.Revision,
			Incarnation: a.state.Incarnation,
			Joining:     a.Joining(),
			TLI:         known(a.state.TLIHistory).Last,
			Start:       a.missing(),
		},
	}}}
	return e, nil
}

// missing is the later start of which the bytes in front are not on this node's disk yet,
// from the beginning of its segment on; 0 = they are, or nothing lies in front of it.
func (a *Acceptor) missing() wal.LSN {
	if start := a.state.laterStart(); a.flush < start {
		return start
	}
	return 0
}

func (a *Acceptor) checkIdentity(m *pushwal.ProposerGreeting) error {
	const major = 10000
	s := &a.state
	switch {
	case m.PGVersion/major != s.PGVersion/major:
		return errf(ErrIdentity, "the proposer's PostgreSQL is version %d, the timeline's %d", m.PGVersion, s.PGVersion)
	case m.TTID != s.ID:
		return errf(ErrIdentity, "the proposer's WAL is of timeline %s, this is %s", m.TTID, s.ID)
	case m.SegmentSize != s.SegmentSize:
		return errf(ErrIdentity, "the proposer's WAL segments are %s, the timeline's %s", m.SegmentSize, s.SegmentSize)
	case m.SystemID != 0 && s.SystemID != 0 && m.SystemID != s.SystemID:
		return errf(ErrIdentity, "the proposer's system identifier is %s, the timeline's %s", m.SystemID, s.SystemID)
	}
	return nil
}

// checkGeneration lets only messages of the own configuration through, and only
// when it knows this node (R9).
func (a *Acceptor) checkGeneration(g pushwal.Generation) error {
	c := a.state.Configuration
	if g != c.Generation {
		return errf(ErrConfiguration, "the message is of membership generation %d, node %d has %d", g, a.id, c.Generation)
	}
	if !legacy(c) && len(membersOf(c, a.id)) == 0 && !a.state.Joining {
		return errf(ErrNotMember, "node %d is no member in generation %d", a.id, g)
	}
	return nil
}

// vote gives the vote for a term above the own one, and its position in any
// case. What was received is made durable before: with the vote given, the
// position is final for all lower terms (R1, C5).
func (a *Acceptor) vote(c *connection, m *pushwal.VoteRequest) (Effects, error) {
	if err := a.checkGeneration(m.Generation); err != nil {
		return Effects{}, err
	}
	if m.Term >= maxTerm {
		return Effects{}, errf(ErrProtocol, "term %d is out of range", m.Term)
	}
	joining := a.Joining()
	if joining && c.instance.IsZero() {
		// A refusal would end Neon's proposer, an error only costs the connection.
		return Effects{}, errf(ErrNotMember, "node %d is joining and does not vote", a.id)
	}
	var e Effects
	if a.dirty {
		e.SyncFirst = true
		a.synced(a.write, a.writeRecord, &e)
	}
	given := m.Term > a.state.Term && !joining
	if given {
		a.state.Term = m.Term
		a.following = false
		e.Save = a.save()
	}
	e.Send = append(e.Send, Outgoing{c.id, &pushwal.VoteResponse{
		Generation:  a.state.Configuration.Generation,
		Term:        a.state.Term,
		VoteGiven:   given,
		FlushLSN:    a.FlushLSN(),
		TruncateLSN: a.state.TruncateLSN,
		History:     a.History(),
		TLIHistory:  known(a.state.TLIHistory),

		Proposed: a.state.Proposed, ProposedTerm: a.proposedTerm(),
	}})
	return e, nil
}

// elected follows a proposer that won a term: the log is cut to the highest
// common point, and both histories become the proposer's.
func (a *Acceptor) elected(c *connection, m *pushwal.ProposerElected) (Effects, error) {
	if err := a.checkGeneration(m.Generation); err != nil {
		return Effects{}, err
	}
	if m.Term < a.state.Term {
		return Effects{}, nil // the next append tells
	}
	if err := a.checkElected(m); err != nil {
		return Effects{}, err
	}
	t := &Truncation{To: m.StartStreamingAt, History: known(m.TLIHistory)}
	s := &a.state
	s.Term, s.History, s.TLIHistory = m.Term, m.History, t.History
	if s.Start == 0 {
		s.Start = m.History[0].LSN
	}
	t.Prefix = t.To == s.Start && a.write < s.Start
	s.CommitLSN = max(s.CommitLSN, s.Start)
	s.BackupLSN = max(s.BackupLSN, s.Start)
	s.TruncateLSN = max(s.TruncateLSN, s.History[0].LSN) // the others may lack what comes behind

	a.write, a.writeRecord, a.flush, a.durable, a.dirty = t.To, t.To, t.To, t.To, false
	a.following, a.termStart, a.instance = true, m.History[len(m.History)-1].LSN, c.instance
	c.elected, c.term = true, m.Term
	for len(a.owing) > 0 {
		a.settle(a.owing[0]) // what they wait for was cut; their next append fails
	}
	return Effects{Truncate: t, Save: a.save()}, nil
}

// checkElected refuses what a proposer that follows the rules cannot say.
func (a *Acceptor) checkElected(m *pushwal.ProposerElected) error {
	h, s := m.History, &a.state
	if m.Term >= maxTerm || !h.Valid() || lastTerm(h) != m.Term || len(h) == 0 {
		return errf(ErrHistory, "the history of the proposer of term %d does not end with that term", m.Term).term(m.Term)
	}
	if err := checkTerms(s.History, h); err != nil {
		return err
	}
	flush := a.FlushLSN()
	start := commonPoint(h, a.History(), flush)
	if start != m.StartStreamingAt && !a.startsWithPrefix(m.StartStreamingAt, start) {
		return errf(ErrPosition, "the proposer of term %d starts at %s, but the histories part at %s", m.Term, m.StartStreamingAt, start).
			term(m.Term).at(start)
	}
	if s.Start != 0 && (start > flush || start < s.Start) {
		return errf(ErrHistory, "the proposer of term %d has no history in common with WAL %s..%s", m.Term, s.Start, flush).term(m.Term).at(start)
	}
	if start < s.CommitLSN {
		return errf(ErrHistory, "the proposer of term %d would cut committed WAL: it starts at %s, committed is %s", m.Term, start, s.CommitLSN).
			term(m.Term).at(start)
	}
	if start == s.Start && m.StartStreamingAt == start && a.write < start && s.laterStart() != 0 {
		// What lies in front of it is WAL that others hold, and must not be made up.
		return errf(ErrPosition, "the proposer of term %d does not send the beginning of the segment in which WAL begins here, at %s", m.Term, start).
			term(m.Term).at(start)
	}
	return a.checkElectedTimeline(m, start)
}

// startsWithPrefix says whether a proposer that starts at `at` sends an empty
// log the true bytes of its first segment ahead of the first record.
func (a *Acceptor) startsWithPrefix(at, common wal.LSN) bool {
	// One that has them has acknowledged them, and is not to cut them to get them again.
	empty := a.state.laterStart() == 0 || a.missing() != 0
	return empty && common == a.state.Start && a.FlushLSN() == a.state.Start && a.state.SegmentSize.Valid() &&
		at == a.state.SegmentSize.SegmentStart(a.state.Start)
}

// checkElectedTimeline refuses a PostgreSQL history that contradicts the own
// one, in itself or about the bytes that stay. The term is not raised by it.
func (a *Acceptor) checkElectedTimeline(m *pushwal.ProposerElected, start wal.LSN) error {
	want := known(m.TLIHistory)
	if !want.Valid() {
		return errf(ErrTimeline, "the proposer of term %d sent an invalid PostgreSQL history", m.Term).term(m.Term)
	}
	if err := checkTimelines(a.state.TLIHistory, want); err != nil {
		return err
	}
	if upto := agreeUpto(a.state.TLIHistory, want); upto < start {
		return errf(ErrTimeline, "the proposer's timeline %d parts from timeline %d at %s, below %s where its WAL would continue",
			want.Last, known(a.state.TLIHistory).Last, upto, start).at(upto)
	}
	return nil
}
