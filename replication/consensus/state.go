package consensus

import (
	"slices"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// State is what an acceptor keeps across restarts. Slices in it are shared and
// never changed in place.
type State struct {
	ID          wal.TTID
	SystemID    wal.SystemID // 0 = not known yet (founded by a sync)
	PGVersion   uint32       // PG_VERSION_NUM
	SegmentSize wal.SegmentSize
	Start       wal.LSN // position of the first record here, see laterStart

	Incarnation pushwal.Incarnation // of this node's data directory
	Joining     bool                // neither votes nor counts

	// Configuration is the one in force: the members have chosen it.
	Configuration pushwal.Configuration
	// Proposed was accepted to follow it, in the ballot Accepted, and is not known
	// here to be chosen. Generation 0 = none.
	Proposed pushwal.Configuration
	Accepted AcceptedConfig

	Term       wal.Term            // highest term voted for or followed
	History    pushwal.TermHistory // may reach beyond the WAL present
	TLIHistory wal.TimelineHistory // PostgreSQL's

	CommitLSN           wal.LSN
	TruncateLSN         wal.LSN // all members hold what lies below (Neon's peer_horizon_lsn)
	RemoteConsistentLSN wal.LSN // a pageserver made it durable in the object store
	BackupLSN           wal.LSN // end of the last segment in the object store
}

// AcceptedConfig is the ballot of the configuration that was accepted last:
// its generation and the term of the proposer that proposed it.
type AcceptedConfig struct {
	Generation pushwal.Generation
	Term       wal.Term
}

// Founding is the state of a member of a timeline that is being founded: term 0,
// history (0, Start), everything at Start. The identity fields are taken from s.
//
// With a history it is that of a node which joins a timeline whose first WAL was
// removed: it is as if it had held what is committed below Start and removed that, too.
// The history is that of members at Start, which they know to be committed.
func Founding(s State) State {
	s.History = cutHistory(s.History, s.Start)
	if s.Term = lastTerm(s.History); len(s.History) == 0 {
		s.History = pushwal.TermHistory{{Term: 0, LSN: s.Start}}
	}
	// What the other members hold it has not been told, wherever it begins itself.
	s.CommitLSN, s.TruncateLSN, s.BackupLSN = s.Start, s.History[0].LSN, s.Start
	s.RemoteConsistentLSN = 0
	s.TLIHistory = known(s.TLIHistory)
	return s
}

// BeginAt returns what a node begins with that joins at start, a position that a member
// knows to be committed: of that member's histories, what tells of the WAL below. The
// first is nil when there is none below, for the timeline begins there. A PostgreSQL
// timeline that begins at start is taken over if a byte of it is committed: else another
// promotion may still win.
func BeginAt(start, commit wal.LSN, h pushwal.TermHistory, tli wal.TimelineHistory) (pushwal.TermHistory, wal.TimelineHistory) {
	h = slices.Clone(cutHistory(h, start))
	if len(h) > 0 && h[0].LSN == start {
		h = nil
	}
	tli = known(tli)
	last := tli.TLIAt(start)
	if commit <= start && start > 0 {
		last = tli.TLIAt(start - 1)
	}
	if part, ok := tli.Upto(last); ok {
		tli = part
	}
	return h, tli
}

// laterStart is Start if the timeline began before, 0 otherwise.
func (s *State) laterStart() wal.LSN {
	if len(s.History) == 0 || s.History[0].LSN >= s.Start {
		return 0
	}
	return s.Start
}

func (s *State) positions() positions {
	return positions{s.CommitLSN, s.TruncateLSN, s.RemoteConsistentLSN, s.BackupLSN}
}
