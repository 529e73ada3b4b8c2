package replication

import (
	"time"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
)

// Status is an acceptor's answer to TIMELINE_STATUS.
type Status struct {
	NodeID      pushwal.NodeID
	ID          wal.TTID
	SystemID    wal.SystemID
	PGVersion   uint32
	SegmentSize wal.SegmentSize
	Start       wal.LSN // first record
	Oldest      wal.LSN // first byte that can be read

	Incarnation   pushwal.Incarnation
	Joining       bool
	Configuration pushwal.Configuration
	Accepted      consensus.AcceptedConfig

	Term        wal.Term
	LastLogTerm wal.Term
	History     pushwal.TermHistory // up to FlushLSN
	TLIHistory  wal.TimelineHistory

	FlushLSN            wal.LSN
	CommitLSN           wal.LSN
	TruncateLSN         wal.LSN
	RemoteConsistentLSN wal.LSN
	BackupLSN           wal.LSN

	Writer      pushwal.Instance // the proposer that wrote last; zero when unknown or Neon's
	WriterHeard time.Time        // when a writer was last heard; zero = never
	Age         time.Duration    // since WriterHeard; -1 = never. Set by ParseStatus and Status
}

// StatusColumns are the columns of TIMELINE_STATUS, in order.
var StatusColumns = []string{
	"flush_lsn", "commit_lsn", "term", "last_log_term", "term_history", "node_id", "generation",
	"members", "incarnation", "joining", "system_id", "pg_version", "wal_segment_size", "tli",
	"tli_history", "start_lsn", "oldest_lsn", "writer", "writer_age_ms",
}

// Values are the columns' values as text, in the order of StatusColumns.
func (s Status) Values() []any { panic("todo") }

// ParseStatus reads a row of TIMELINE_STATUS, as from Query.
func ParseStatus(row Row) (Status, error) { panic("todo") }
