package pushwal

import (
	"fmt"

	"github.com/walhaven/walhaven/wal"
)

// MaxAppend is the largest number of WAL bytes that one AppendRequest carries
// (MAX_SEND_SIZE: 16 WAL pages).
const MaxAppend = 16 * wal.BlockSize

// MaxMessage is the longest message in bytes that both sides take: ProposerElected
// and VoteResponse carry the whole term history, 16 bytes a term.
const MaxMessage = 4 << 20

// MaxName is the longest name of a timeline in bytes (NAMEDATALEN - 1).
const MaxName = 63

// ProposerMessage is a message from a proposer to an acceptor:
// *ProposerGreeting, *VoteRequest, *ProposerElected, *AppendRequest or
// *ConfigurationRequest.
type ProposerMessage interface{ proposerMessage() }

// AcceptorMessage is a message from an acceptor to a proposer:
// *AcceptorGreeting, *VoteResponse, *AppendResponse, *ConfigurationResponse or
// *MembershipRequest.
type AcceptorMessage interface{ acceptorMessage() }

// ProposerGreeting opens a session and says whose WAL will come.
type ProposerGreeting struct {
	TTID        wal.TTID
	Config      Configuration // in force; Neon's proposer always sends it empty
	PGVersion   uint32        // PG_VERSION_NUM; 0 when unknown
	SystemID    wal.SystemID  // 0 in sync mode
	SegmentSize wal.SegmentSize

	// TLI is the timeline that the proposer's PostgreSQL writes: the last field
	// of version 2, an option of ours in version 3; 0 when it was not said.
	TLI wal.TLI
	// Instance names the proposer's supervisor (ours); zero when unknown.
	Instance Instance

	// A safekeeper that pushes to a pageserver (role 'pageserver', ours) says
	// who it is and what the receiver founds its timeline from; all zero
	// otherwise. Name has at most MaxName bytes.
	NodeID     NodeID
	Name       string
	Start      wal.LSN // the timeline's first record
	TLIHistory wal.TimelineHistory
}

// AcceptorGreeting answers a ProposerGreeting.
type AcceptorGreeting struct {
	NodeID NodeID
	Config Configuration // version 3 only; incarnations only with our options
	Term   wal.Term      // highest term voted for

	// Options are ours; nil when the acceptor did not answer with them, so that
	// nothing was negotiated.
	Options *AcceptorOptions
}

// AcceptorOptions is what an acceptor of ours adds to its greeting.
type AcceptorOptions struct {
	Walhaven    uint32 // revision of the options, see Revision
	Incarnation Incarnation
	Joining     bool // neither votes nor counts yet
	TLI         wal.TLI

	// Start is where the acceptor's own WAL begins, if the timeline began before (it came
	// when the WAL below had been removed) and it lacks what its segment holds in front:
	// the proposer sends that, too. 0 otherwise.
	Start wal.LSN

	// LastRecordLSN is where a pageserver's own WAL ends; only in the role of
	// one, 0 otherwise.
	LastRecordLSN wal.LSN
}

// VoteRequest asks for a vote in Term.
type VoteRequest struct {
	Generation Generation
	Term       wal.Term
}

// VoteResponse answers a VoteRequest with the acceptor's position.
type VoteResponse struct {
	Generation  Generation
	Term        wal.Term // the acceptor's, after handling the request
	VoteGiven   bool
	FlushLSN    wal.LSN
	TruncateLSN wal.LSN
	History     TermHistory // entries with an LSN at or below FlushLSN

	// TLIHistory is ours; Last is 0 when it was not sent. Reasons are not
	// carried.
	TLIHistory wal.TimelineHistory

	// Proposed is ours: the configuration of the next generation that the acceptor
	// has accepted in ProposedTerm, without knowing it to be chosen. Generation 0 =
	// none.
	Proposed     Configuration
	ProposedTerm wal.Term
}

// ProposerElected tells an acceptor where its WAL and the new proposer's part
// and what the new proposer's history is. It has no direct answer.
type ProposerElected struct {
	Generation       Generation
	Term             wal.Term
	StartStreamingAt wal.LSN
	History          TermHistory

	// TLIHistory is ours; Last is 0 when it was not sent.
	TLIHistory wal.TimelineHistory
}

// AppendRequest carries the WAL bytes [Begin, End), or none as a heartbeat and
// announcement of CommitLSN.
//
// Guarantee of a decoded request: End - Begin = len(WAL) <= MaxAppend.
type AppendRequest struct {
	Generation  Generation
	Term        wal.Term
	Begin, End  wal.LSN
	CommitLSN   wal.LSN // 0 = none yet
	TruncateLSN wal.LSN // oldest position that some acceptor may still need

	TLI wal.TLI // ours: the timeline of every byte of WAL; 0 in Neon's form
	CRC uint32  // ours: CRC-32C of WAL; see CheckCRC

	// WAL aliases the buffer that the request was decoded from.
	WAL []byte
}

// AppendResponse reports what an acceptor has made durable. In a refusal only
// Generation and Term are set.
type AppendResponse struct {
	Generation Generation
	Term       wal.Term
	FlushLSN   wal.LSN // end of the last whole record on disk
	CommitLSN  wal.LSN // as persisted
	// DurableLSN is the end of the bytes on disk, those of a record that is not
	// whole yet included. Nothing is committed by it: a proposer learns that it
	// need not keep the bytes. Ours; 0 before RevisionDurable.
	DurableLSN wal.LSN
	Standby    HotStandbyFeedback
	Pageserver *PageserverFeedback // nil when the response carries none
}

// HotStandbyFeedback is the oldest transaction IDs that standbys behind the
// acceptor still need, as full IDs (epoch in the high 32 bits); 0 = none.
type HotStandbyFeedback struct {
	Time        wal.Timestamp
	Xmin        uint64
	CatalogXmin uint64
}

// PageserverFeedback is a pageserver's progress, relayed by an acceptor or, in
// the role of a pageserver, sent by the receiver itself.
type PageserverFeedback struct {
	TimelineSize     uint64        // logical size in bytes
	LastReceivedLSN  wal.LSN       // received and ingested
	DiskConsistent   wal.LSN       // durable on the pageserver's disk
	RemoteConsistent wal.LSN       // durable in the object store
	ReplyTime        wal.Timestamp // 2000 or later
	ShardNumber      uint32
	Corruption       bool
	Active           Activity // ours
}

// Activity tells a pusher whether a pageserver wants its WAL.
type Activity uint8

// Activities.
const (
	ActivityUnknown Activity = iota // not said (Neon's block)
	StandBy                         // another pusher is the active one
	Active                          // you push
)

// ConfigurationRequest (ours, 'c') asks an acceptor to accept Config, of the
// generation behind the one in force, in the proposer's term.
type ConfigurationRequest struct {
	Generation Generation // in force
	Term       wal.Term
	Config     Configuration
}

// ConfigurationResponse (ours, 'c') says which proposed configuration an acceptor
// has made durable: that of generation Accepted, in AcceptedTerm.
type ConfigurationResponse struct {
	Generation   Generation // in force
	Term         wal.Term   // the acceptor's
	Accepted     Generation // 0 = none
	AcceptedTerm wal.Term
}

// MembershipRequest (ours, 'm') passes an operator's wish on to the proposer: the
// members to have instead of those of Config.Generation.
type MembershipRequest struct {
	Config Configuration // one set; Generation is the one that it takes over from
}

// Revision is what greetings and option walhaven of START_WAL_PUSH say of this
// program. Each revision knows what those before it do, and what both ends know
// is in use.
const Revision = RevisionDurable

const (
	// RevisionOptions knows our options.
	RevisionOptions = 1
	// RevisionMembership knows ConfigurationRequest, ConfigurationResponse and
	// MembershipRequest.
	RevisionMembership = 2
	// RevisionDurable knows AppendResponse's DurableLSN.
	RevisionDurable = 3
)

// StartPush is the command by which our own proposers begin.
var StartPush = fmt.Sprintf("START_WAL_PUSH (proto_version '%d', allow_timeline_creation 'false', walhaven '%d')", Version3, Revision)

func (*ProposerGreeting) proposerMessage()     {}
func (*VoteRequest) proposerMessage()          {}
func (*ProposerElected) proposerMessage()      {}
func (*AppendRequest) proposerMessage()        {}
func (*ConfigurationRequest) proposerMessage() {}

func (*AcceptorGreeting) acceptorMessage()      {}
func (*VoteResponse) acceptorMessage()          {}
func (*AppendResponse) acceptorMessage()        {}
func (*ConfigurationResponse) acceptorMessage() {}
func (*MembershipRequest) acceptorMessage()     {}
