package replication

import (
	"context"
	"log/slog"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walstore"
)

// Log is the WAL of one timeline on disk, implemented by *walstore.Store, whose
// documentation holds.
type Log interface {
	Control() walstore.Control
	SaveControl(edit func(*walstore.Control)) error
	Positions() walstore.Positions
	Append(tli wal.TLI, at wal.LSN, data []byte) error
	Sync() error
	Truncate(to wal.LSN, h wal.TimelineHistory) error
	SynthesizePrefix() error
	ReadAt(p []byte, at wal.LSN) (int, error)
	Oldest() wal.LSN
}

// AcceptingOptions of an acceptor's driver.
type AcceptingOptions struct {
	NodeID  pushwal.NodeID
	Log     Log
	Logger  *slog.Logger      // nil: nothing is logged
	Metrics *AcceptingMetrics // nil: nothing is counted
}

// Accepting drives the acceptor of one timeline: it takes the messages of
// proposers' connections, executes what the consensus decides, disk first, and
// tells those who wait how far WAL is committed. It implements sender.Source.
type Accepting struct{}

// NewAccepting restores the acceptor from the log's control file. The caller
// keeps the log and closes it after Close.
func NewAccepting(o AcceptingOptions) (*Accepting, error) { panic("todo") }

// PushOptions is what START_WAL_PUSH asked for.
type PushOptions struct {
	Version  pushwal.Version
	Walhaven bool
	// Greeting is the first message when the caller has received it already.
	Greeting *pushwal.ProposerGreeting
	// Recovery marks a session that replays a peer's WAL into this node: it does
	// not count as a writer.
	Recovery bool
}

// ReceiveGreeting receives and decodes the first message of a session, for
// callers that have to know it before there is an acceptor.
func ReceiveGreeting(stream *protocol.CopyStream, o PushOptions) (*pushwal.ProposerGreeting, error) {
	panic("todo")
}

// Serve runs one proposer's session until the peer ends it (nil), ctx is done,
// or it breaks a rule (an error with an SQLSTATE, not sent yet).
func (a *Accepting) Serve(ctx context.Context, stream *protocol.CopyStream, o PushOptions) error {
	panic("todo")
}

// CommitLSN is the newest position known to be committed and durable here.
func (a *Accepting) CommitLSN() wal.LSN { panic("todo") }

// FlushLSN is the end of the last whole durable record.
func (a *Accepting) FlushLSN() wal.LSN { panic("todo") }

// WaitCommit waits until CommitLSN is above after and returns it.
func (a *Accepting) WaitCommit(ctx context.Context, after wal.LSN) (wal.LSN, error) { panic("todo") }

// WaitTerm waits until the flush position is above after and returns it; it
// fails when the acceptor's term is or becomes another one.
func (a *Accepting) WaitTerm(ctx context.Context, term wal.Term, after wal.LSN) (wal.LSN, error) {
	panic("todo")
}

// ReadAt reads WAL as the log does, for committed senders, which respect
// CommitLSN themselves.
func (a *Accepting) ReadAt(p []byte, at wal.LSN) (int, error) { panic("todo") }

// ReadTerm reads flushed WAL while the acceptor's term is exactly term, checked
// under the same lock as the read, and returns the flush position as well.
func (a *Accepting) ReadTerm(term wal.Term, p []byte, at wal.LSN) (n int, flush wal.LSN, err error) {
	panic("todo")
}

// Oldest is the first position that can be read.
func (a *Accepting) Oldest() wal.LSN { panic("todo") }

// SegmentSize of the timeline.
func (a *Accepting) SegmentSize() wal.SegmentSize { panic("todo") }

// History is the PostgreSQL history; a timeline whose first byte is not yet
// committed is not part of it.
func (a *Accepting) History() wal.TimelineHistory { panic("todo") }

// Report raises what pageservers made durable in the object store and what was
// uploaded; zero leaves one alone.
func (a *Accepting) Report(remoteConsistent, backup wal.LSN) { panic("todo") }

// RelayPageserver sends a pageserver's feedback to the connected proposers.
func (a *Accepting) RelayPageserver(f pushwal.PageserverFeedback) { panic("todo") }

// SetHotStandby sets what AppendResponses say of standbys from now on.
func (a *Accepting) SetHotStandby(f pushwal.HotStandbyFeedback) { panic("todo") }

// Checkpoint persists positions that moved since the last save.
func (a *Accepting) Checkpoint() error { panic("todo") }

// Close ends all sessions with cause, waits for them, and persists positions.
func (a *Accepting) Close(cause error) error { panic("todo") }

// Status describes the acceptor.
func (a *Accepting) Status() Status { panic("todo") }
