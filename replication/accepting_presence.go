package replication

import (
	"time"

	"github.com/walhaven/walhaven/protocol/pushwal"
)

// presence is what an acceptor remembers of the proposers that it heard, in
// memory only. Nothing that is committed depends on it: it lets those wait who
// could campaign while another is at work.
type presence struct {
	began    time.Time        // when the timeline was opened
	writer   pushwal.Instance // of the server's proposer that wrote last
	heard    time.Time        // when that was; zero = never
	headless time.Time        // when a headless run was last heard; zero = never
	compared time.Time        // when WAL was compared that nobody has written behind since
}

// note keeps the books of who writes, and who is about to. A message of a lower
// term was refused and does not count; a replay of a peer's WAL is no proposer.
func (s *pushSession) note(m pushwal.ProposerMessage) {
	a, now := s.accepting, time.Now()
	office := false // the message is of the proposer in office
	switch m := m.(type) {
	case *pushwal.ProposerGreeting:
		s.instance = m.Instance
	case *pushwal.ProposerElected:
		office = m.Term == a.Term()
	case *pushwal.AppendRequest:
		if office = m.Term == a.Term(); office {
			s.debt.bytes += len(m.WAL)
			a.metrics.requests.Inc()
		}
	}
	switch {
	case s.recovery:
	case s.instance == pushwal.Headless:
		a.presence.headless = now
	case office:
		s.asked, a.presence.compared = time.Time{}, time.Time{}
		a.presence.writer, a.presence.heard = s.instance, now
	case !s.asked.IsZero(), isCampaign(m):
		s.asked = now
	}
}

// isCampaign says whether a message is one before an election.
func isCampaign(m pushwal.ProposerMessage) bool {
	switch m.(type) {
	case *pushwal.ProposerGreeting, *pushwal.VoteRequest:
		return true
	}
	return false
}

// NoteComparison says that somebody compares WAL with this node's, as a server's
// proposer does before it connects.
func (a *Accepting) NoteComparison() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.presence.compared = time.Now()
}

// candidate is when a server's proposer that is not in office was last heard, or
// what it does before; zero when there is none. a.mu is held.
func (a *Accepting) candidate() (last time.Time) {
	last = a.presence.compared
	for _, s := range a.sessions {
		if s.asked.After(last) {
			last = s.asked
		}
	}
	return last
}

// ageOf is how long ago t was, negative = never.
func ageOf(t time.Time) time.Duration {
	if t.IsZero() {
		return -1
	}
	return time.Since(t)
}
