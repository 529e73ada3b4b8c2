package consensus

import (
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// Event is what happens to a Proposer: *Greeted, *Voted, *Appended, *Configured,
// *Disconnected, *Proved, *Available, *Reconfigure or *Tick. Peer is an index into
// ProposerConfig.Peers; events of one peer belong to its newest connection.
type Event interface{ event() }

// Greeted is a peer's greeting, the first message of a connection.
type Greeted struct {
	Peer     int
	Greeting *pushwal.AcceptorGreeting
}

// Voted is a peer's answer to a VoteRequest.
type Voted struct {
	Peer     int
	Response *pushwal.VoteResponse
}

// Appended is a peer's answer to AppendRequests.
type Appended struct {
	Peer     int
	Response *pushwal.AppendResponse
}

// Configured is a peer's answer to a ConfigurationRequest.
type Configured struct {
	Peer     int
	Response *pushwal.ConfigurationResponse
}

// Reconfigure is an operator's wish: Config.Members instead of the members of
// generation Config.Generation. It is void when that one is not in force any more,
// and may be repeated.
type Reconfigure struct{ Config pushwal.Configuration }

// Disconnected says that the connection to a peer is gone.
type Disconnected struct{ Peer int }

// Proved is the answer to a ProofRequest of the same term: Err is nil when the
// proposer's own WAL holds every byte that the request speaks of.
type Proved struct {
	Term wal.Term
	Err  error
}

// Available says that the proposer has its own WAL up to End. No acknowledgement
// counts beyond it.
type Available struct{ End wal.LSN }

// Tick is the passing of time, about one second.
type Tick struct{}

func (*Greeted) event()      {}
func (*Voted) event()        {}
func (*Appended) event()     {}
func (*Configured) event()   {}
func (*Reconfigure) event()  {}
func (*Disconnected) event() {}
func (*Proved) event()       {}
func (*Available) event()    {}
func (*Tick) event()         {}

// ProposerEffects is what a proposer's driver has to do, in this order.
type ProposerEffects struct {
	// Send is messages to peers: VoteRequest and ProposerElected.
	Send []ToPeer
	// Prove asks for the proof that the own WAL continues the quorum's; feed the
	// answer as Proved. ProposerElected is never sent before.
	Prove *ProofRequest
	// Elected is set once, when the proof was accepted.
	Elected *Election
	// Stream says where AppendRequests to a peer begin; the peer's
	// ProposerElected is in Send of the same effects. Send at least one
	// AppendRequest at once, possibly empty.
	Stream []StreamStart
	// Drop is further connections to close, each with its reason.
	Drop []PeerError
	// Commit is the new commit position when it advanced, else 0: report it, and
	// announce it to every streaming peer at once.
	Commit wal.LSN
	// Held is the end of the bytes that a quorum has on disk when it advanced, else
	// 0: at or above the commit position, which waits for whole records. Who keeps
	// the WAL in memory for the peers need not keep it below. Should one of them be
	// cut back to a whole record nobody may have what it needs: end the term then,
	// for PostgreSQL keeps what is not committed.
	Held wal.LSN
	// Truncate is the new truncate position when it advanced, else 0.
	Truncate wal.LSN
	// Members is the configuration that came into force, or that is wanted: connect
	// to each of its nodes (AddPeer), and give up those that it does not name. All
	// connections are in Drop when it came into force: reconnect at once.
	Members *pushwal.Configuration
	// Synced is set once: a quorum has persisted a commit position at or above
	// the term's start. A headless run is over then.
	Synced bool
	// Fatal ends this proposer: close all connections, look again.
	Fatal *Error
}

// ToPeer is a message for one peer's newest connection.
type ToPeer struct {
	Peer int
	Msg  pushwal.ProposerMessage
}

// PeerError is why a peer's connection is to be closed.
type PeerError struct {
	Peer int
	Err  error
}

// StreamStart says where a peer's stream begins. Prefix is set when At is below
// the timeline's first record: the bytes up to it are the true ones of the
// segment.
type StreamStart struct {
	Peer   int
	At     wal.LSN
	Prefix bool
}

// VotePosition is what one vote said.
type VotePosition struct {
	Peer        int
	Node        pushwal.NodeID
	LastLogTerm wal.Term
	FlushLSN    wal.LSN
	Counted     bool // false: beyond the own timeline's switch point, will be cut
}

// ProofRequest asks whether the own WAL holds the same bytes as the donor up to
// Upto, which is where the term would start.
type ProofRequest struct {
	Term       wal.Term
	Donor      int // peer that holds the WAL up to Upto
	DonorNode  pushwal.NodeID
	Upto       wal.LSN
	History    pushwal.TermHistory // the donor's, cut at Upto
	TLIHistory wal.TimelineHistory // the donor's
	Votes      []VotePosition      // by peer
}

// Election is what the proposer was elected for.
type Election struct {
	Term       wal.Term
	Start      wal.LSN             // first byte of the term
	History    pushwal.TermHistory // ends with (Term, Start)
	TLIHistory wal.TimelineHistory
}
