package consensus

import (
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// Look is what a peer says of itself without any term being touched
// (TIMELINE_STATUS).
type Look struct {
	Peer        int
	Node        pushwal.NodeID
	Incarnation pushwal.Incarnation
	Joining     bool
	SystemID    wal.SystemID
	PGVersion   uint32
	SegmentSize wal.SegmentSize
	Start       wal.LSN
	Config      pushwal.Configuration
	Term        wal.Term
	History     pushwal.TermHistory
	TLIHistory  wal.TimelineHistory
	FlushLSN    wal.LSN
	CommitLSN   wal.LSN
}

// Survey is what a quorum's looks mean for a campaign.
type Survey struct {
	Quorum    bool     // the looks are those of a quorum; else only MaxTerm and CommitLSN are meant
	MaxTerm   wal.Term // for ProposerConfig.MinTerm
	CommitLSN wal.LSN  // highest commit position seen
	Proof     ProofRequest
}

// Evaluate judges looks as the votes of the same peers would be judged. The
// error says why a campaign would be refused.
func Evaluate(c ProposerConfig, looks []Look) (Survey, error) { panic("todo") }
