package consensus

import (
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// ProposerConfig is what a proposer knows before it talks to anyone.
type ProposerConfig struct {
	ID          wal.TTID
	SystemID    wal.SystemID // 0 for a headless run
	PGVersion   uint32
	SegmentSize wal.SegmentSize
	TLIHistory  wal.TimelineHistory // the own PostgreSQL's; a headless run takes the donor's
	Instance    pushwal.Instance
	// Peers is how many peers there are; events name them by index.
	Peers int
	// MinTerm is a term that the campaign must be above, as known from looking.
	MinTerm wal.Term
	// Headless proposes nothing of its own: no proof, no WAL. It makes the
	// quorum hold and commit what its best voter has.
	Headless bool
}

// Proposer is one campaign and, when elected, one term. A new connection to
// PostgreSQL needs a new Proposer. Not safe for concurrent use.
type Proposer struct {
	c ProposerConfig
}

// NewProposer returns a proposer that waits for greetings.
func NewProposer(c ProposerConfig) *Proposer { panic("todo") }

// Greeting is what to send first on each connection.
func (p *Proposer) Greeting() *pushwal.ProposerGreeting { panic("todo") }

// Step handles an event. An error, always an *Error, is about the peer of the
// event alone: close its connection, connect again later; Disconnected need not
// follow. What ends the whole proposer is ProposerEffects.Fatal.
func (p *Proposer) Step(ev Event) (ProposerEffects, error) { panic("todo") }

// AppendRequest returns a request for the WAL [begin, begin+len(b)) with every
// field filled in: term, commit, truncate, TLI, CRC. It must not cross the end of
// a timeline (see Bound). Only after the election.
func (p *Proposer) AppendRequest(begin wal.LSN, b []byte) *pushwal.AppendRequest { panic("todo") }

// Bound returns the largest end of an AppendRequest that begins at begin: end
// itself, or the switch point in between.
func (p *Proposer) Bound(begin, end wal.LSN) wal.LSN { panic("todo") }

// Donor returns a streaming peer that holds the WAL from before the term and
// how far it does, or ok = false.
func (p *Proposer) Donor() (peer int, upto wal.LSN, ok bool) { panic("todo") }

// CommitLSN is the newest committed position, 0 before the first.
func (p *Proposer) CommitLSN() wal.LSN { panic("todo") }

// Term is the term that is campaigned for or won, 0 before the campaign.
func (p *Proposer) Term() wal.Term { panic("todo") }

// Configuration is the membership that was learnt, empty until then.
func (p *Proposer) Configuration() pushwal.Configuration { panic("todo") }
