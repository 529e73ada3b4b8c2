package consensus

import (
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
	Start       wal.LSN // position of the first record

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
func Founding(s State) State {
	s.Term = 0
	s.History = pushwal.TermHistory{{Term: 0, LSN: s.Start}}
	s.CommitLSN, s.TruncateLSN, s.BackupLSN = s.Start, s.Start, s.Start
	s.RemoteConsistentLSN = 0
	s.TLIHistory = known(s.TLIHistory)
	return s
}

func (s *State) positions() positions {
	return positions{s.CommitLSN, s.TruncateLSN, s.RemoteConsistentLSN, s.BackupLSN}
}
