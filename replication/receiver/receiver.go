package receiver

import (
	"context"
	"fmt"
	"time"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// Streamer is a connection that can be turned into a stream; *replication.Client
// implements it.
type Streamer interface {
	Stream(ctx context.Context, command string) (*protocol.CopyStream, *protocol.Result, error)
}

// Positions is what a status update reports. Positions may be 0.
type Positions struct {
	Write, Flush, Apply wal.LSN
}

// Options of a receiver. The zero value reports nothing but silence.
type Options struct {
	Slot string    // "" = none
	TLI  wal.TLI   // 0 = the server's current one
	Term *wal.Term // not nil: ask a safekeeper for uncommitted WAL of this term
	// Interval between status updates while nothing changes; 10 s when zero.
	Interval time.Duration
	// Timeout ends the stream when the server is silent for so long, half of it
	// and it is asked for a keepalive; 60 s when zero, negative = never.
	Timeout time.Duration
	// Positions is asked for what to report, from another goroutine; nil reports
	// what Next has yielded as written, and nothing as flushed.
	Positions func() Positions
	// Feedback, if not nil, is asked for a pageserver feedback block to be sent
	// behind each status update.
	Feedback func() *pushwal.PageserverFeedback
}

// EndOfTimeline says that the server's timeline has ended and which follows.
type EndOfTimeline struct {
	Next  wal.TLI
	Start wal.LSN // where Next begins
}

func (e *EndOfTimeline) Error() string {
	return fmt.Sprintf("timeline ended, timeline %d begins at %s", e.Next, e.Start)
}

// Receiver is one stream of WAL. Next belongs to one goroutine.
type Receiver struct{}

// Start asks c for WAL from at on. Its error is an *EndOfTimeline when there is
// none on that timeline. The receiver ends with ctx; the caller closes it.
func Start(ctx context.Context, c Streamer, at wal.LSN, o Options) (*Receiver, error) { panic("todo") }

// Next returns the next run of WAL, which begins where the last one ended. data
// is valid until the next call. Errors end the stream: *EndOfTimeline,
// *protocol.Error from the server, protocol.ErrStreamComplete when it shuts
// down, protocol.ErrPeerClosed, the context's cause.
func (r *Receiver) Next() (at wal.LSN, data []byte, err error) { panic("todo") }

// Buffered says that Next will not wait.
func (r *Receiver) Buffered() bool { panic("todo") }

// Report has changed positions sent at once; any goroutine, never waits.
func (r *Receiver) Report() { panic("todo") }

// ServerEnd is the end of WAL that the server told last; any goroutine.
func (r *Receiver) ServerEnd() wal.LSN { panic("todo") }

// LastHeard is when the last message arrived; any goroutine.
func (r *Receiver) LastHeard() time.Time { panic("todo") }

// Close ends the stream and waits for its goroutine. Repeated calls are
// harmless.
func (r *Receiver) Close() error { panic("todo") }
