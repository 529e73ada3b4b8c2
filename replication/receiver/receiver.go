package receiver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/protocol/walstream"
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

// Options of a receiver. The zero value works.
type Options struct {
	Slot string    // "" = none
	TLI  wal.TLI   // 0 = the server's current one
	Term *wal.Term // not nil: ask a safekeeper for uncommitted WAL of this term
	// Interval is the longest time between status updates; 10 s when zero.
	Interval time.Duration
	// Timeout ends the stream when the server is silent for so long; after half
	// of it the server is asked for a message. 60 s when zero, negative = never.
	Timeout time.Duration
	// Positions is asked for what to report, on another goroutine; nil reports
	// what Next has yielded as written, and nothing as flushed.
	Positions func() Positions
	// Feedback, if not nil, is asked on that goroutine for a pageserver feedback
	// block to be sent behind each status update; a nil result sends none.
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

// ErrTimeout says that the server was silent for too long.
var ErrTimeout = errors.New("server sent nothing within the timeout")

// Receiver is one stream of WAL. Next and Buffered belong to one goroutine.
type Receiver struct {
	stream *protocol.CopyStream
	o      Options
	asked  bool    // the server was asked for a message and has sent none since
	ended  error   // what Next returns from now on
	next   wal.LSN // where the next run begins

	yielded   atomic.Uint64 // end of what Next returned
	serverEnd atomic.Uint64

	reports reports
	stop    func() // ends the reporting goroutine and waits for it
}

// Start asks c for WAL from at on. Its error is an *EndOfTimeline when there is
// none on that timeline. The receiver ends with ctx; the caller closes it.
func Start(ctx context.Context, c Streamer, at wal.LSN, o Options) (*Receiver, error) {
	if o.Interval <= 0 {
		o.Interval = 10 * time.Second
	}
	if o.Timeout == 0 {
		o.Timeout = 60 * time.Second
	}
	stream, res, err := c.Stream(ctx, command(at, o))
	if err != nil {
		return nil, err
	}
	if stream == nil {
		return nil, endOfTimeline(*res)
	}
	r := &Receiver{stream: stream, o: o, next: at}
	r.yielded.Store(uint64(at))
	if r.o.Positions == nil {
		r.o.Positions = func() Positions { return Positions{Write: wal.LSN(r.yielded.Load())} }
	}
	if o.Timeout > 0 {
		stream.SetReadIdle(o.Timeout / 2)
	}
	r.reports.kick = make(chan struct{}, 1)
	done, finished := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(finished)
		r.report(done)
	}()
	r.stop = sync.OnceFunc(func() {
		close(done)
		<-finished
	})
	return r, nil
}

// Next returns the next run of WAL, which begins where the last one ended. data
// is valid until the next call. Errors end the stream: *EndOfTimeline,
// *protocol.Error from the server, protocol.ErrStreamComplete when it shuts
// down, protocol.ErrPeerClosed, ErrTimeout, the context's cause.
func (r *Receiver) Next() (at wal.LSN, data []byte, err error) {
	for r.ended == nil {
		payload, err := r.stream.Receive()
		if err != nil {
			if !r.probe(err) {
				r.ended = r.finish(err)
			}
			continue
		}
		r.asked = false
		data, err := r.take(payload)
		if err != nil {
			r.ended = err
			continue
		}
		if len(data) > 0 {
			at := r.next
			r.next += wal.LSN(len(data))
			r.yielded.Store(uint64(r.next))
			return at, data, nil
		}
	}
	return 0, nil, r.ended
}

// probe asks a silent server for a message, once.
func (r *Receiver) probe(err error) bool {
	if r.asked || !os.IsTimeout(err) && !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	r.asked = true
	r.reports.ask.Store(true)
	r.reports.nudge()
	return true
}

// take handles one message and returns the WAL in it, if any.
func (r *Receiver) take(payload []byte) ([]byte, error) {
	switch kind := walstream.Kind(payload); kind {
	case walstream.KindXLogData:
		var m walstream.XLogData
		if err := walstream.DecodeXLogData(payload, &m); err != nil {
			return nil, err
		}
		if m.Start != r.next {
			return nil, fmt.Errorf("server sent WAL of %s, expected %s", m.Start, r.next)
		}
		r.serverEnd.Store(uint64(m.WALEnd))
		return m.Data, nil
	case walstream.KindKeepalive:
		var m walstream.Keepalive
		if err := walstream.DecodeKeepalive(payload, &m); err != nil {
			return nil, err
		}
		r.serverEnd.Store(uint64(m.WALEnd))
		if m.ReplyRequested {
			r.reports.requested.Store(true)
			r.reports.nudge()
		}
		return nil, nil
	default:
		return nil, fmt.Errorf("server sent a message of unknown type %q", kind)
	}
}

// finish turns the end of receiving into what Next returns.
func (r *Receiver) finish(err error) error {
	switch {
	case r.asked && (os.IsTimeout(err) || errors.Is(err, os.ErrDeadlineExceeded)):
		return ErrTimeout
	case !errors.Is(err, io.EOF):
		return err
	}
	// The server's CopyDone: the timeline is over. The reporting goroutine must
	// not send behind our own.
	r.stop()
	if err := r.stream.Handshake(); err != nil {
		return fmt.Errorf("end stream: %w", err)
	}
	res, err := r.stream.ReadResult()
	if err != nil {
		return fmt.Errorf("end stream: %w", err)
	}
	return endOfTimeline(res)
}

// Buffered says that Next will not wait.
func (r *Receiver) Buffered() bool { return r.ended != nil || r.stream.Buffered() }

// Report has changed positions sent at once, and with Options.Feedback also
// unchanged ones, at the pace of requested updates. Any goroutine; it never
// waits.
func (r *Receiver) Report() {
	if r.o.Feedback != nil {
		r.reports.requested.Store(true)
	}
	r.reports.nudge()
}

// ServerEnd is the end of WAL that the server told last, 0 before; any
// goroutine.
func (r *Receiver) ServerEnd() wal.LSN { return wal.LSN(r.serverEnd.Load()) }

// Close ends the stream and the connection, and waits for the receiver's
// goroutine. It may be called from any goroutine and more than once; a Next that
// is waiting ends.
func (r *Receiver) Close() error {
	r.stream.Abort(net.ErrClosed)
	r.stop()
	return r.stream.Close()
}
