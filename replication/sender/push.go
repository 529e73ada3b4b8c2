package sender

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// PushSource is the timeline that a push session reads: committed WAL only is
// ever asked of it.
type PushSource interface {
	// ReadAt reads as walstore.Store.ReadAt does.
	ReadAt(p []byte, at wal.LSN) (int, error)
	// Oldest is the first position that ReadAt can read.
	Oldest() wal.LSN
	// CommitLSN is this node's commit position.
	CommitLSN() wal.LSN
	// WaitCommit returns once the commit position is above after.
	WaitCommit(ctx context.Context, after wal.LSN) (wal.LSN, error)
	// History is PostgreSQL's timeline history in force.
	History() wal.TimelineHistory
}

// PushOptions of one session.
type PushOptions struct {
	Source PushSource      // required
	Term   func() wal.Term // the term of the last WAL, for people to read; nil says 0

	// Greeting introduces the timeline; TLIHistory and TLI are filled in from
	// Source.
	Greeting pushwal.ProposerGreeting

	// Heartbeat is the longest silence of this side, 500 ms if 0.
	Heartbeat time.Duration
	// Silence is how long the receiver may say nothing, 15 s if 0.
	Silence time.Duration
	// Drain bounds how long an ending session waits for the receiver to make
	// durable what was committed, 2 s if 0.
	Drain time.Duration

	// OnFeedback is called in order, from one goroutine, with what the receiver
	// reports. It must not block.
	OnFeedback func(PushFeedback)

	Metrics *PushMetrics // nil counts nowhere
	Logger  *slog.Logger // required
}

// PushFeedback is what a receiver reports.
type PushFeedback struct {
	Active     bool    // this session is the one that pushes
	Write      wal.LSN // end of what the receiver has
	Flush      wal.LSN // end of what is durable there
	Apply      wal.LSN // end of what is applied there
	Remote     wal.LSN // end of what it has in an object store
	Corruption bool    // the receiver stopped because its WAL and a pusher's differ
	At         time.Time
}

// ErrNotWalhaven says that the other side did not answer our options, without
// which WAL may not be pushed: a frame would carry neither TLI nor CRC.
var ErrNotWalhaven = errors.New("the receiver is no walhaven pageserver")

// ErrHistoryChanged ends a session whose greeting no longer tells the timeline
// history; the caller connects again at once.
var ErrHistoryChanged = errors.New("timeline history changed")

// PushGapError says that the receiver needs WAL that is no longer here.
type PushGapError struct {
	Need, Oldest wal.LSN
}

func (e *PushGapError) Error() string {
	return fmt.Sprintf("the receiver needs WAL from %s, the oldest here is %s", e.Need, e.Oldest)
}

// Push runs one session in the role of a pusher to a pageserver on a stream
// that START_WAL_PUSH opened. It sends only bytes at or below the source's
// commit position, and only while the receiver says that this session is the
// active one; otherwise it announces its commit position.
//
// When ctx is done the session still waits up to Drain for the receiver to be
// durable up to the commit position, and then returns nil; the stream must
// outlive ctx by that. Push closes the stream before it returns.
func Push(ctx context.Context, stream *protocol.CopyStream, o PushOptions) error {
	o.setDefaults()
	p := &pushSession{o: o, stream: stream, codec: pushwal.Codec{Version: pushwal.Version3, Walhaven: true}}
	defer stream.Close()
	if err := p.greet(); err != nil {
		return err
	}
	var g errgroup.Group
	ended := make(chan struct{})
	g.Go(func() error {
		defer p.note(func(*PushFeedback) {}) // wakes the writer
		defer close(ended)
		return p.listen()
	})
	g.Go(func() error {
		err := p.feed(ctx, ended)
		p.finish(err, ended)
		return err
	})
	return g.Wait()
}

// finish closes the stream behind the writer half. When writing failed, the
// receiver's own words about it may still be on their way: they are worth a
// moment, because they say why.
func (p *pushSession) finish(err error, ended <-chan struct{}) {
	if err != nil && !errors.Is(err, ErrHistoryChanged) {
		select {
		case <-ended:
		case <-time.After(lastWords):
		}
	}
	p.mu.Lock()
	p.closing = true
	p.mu.Unlock()
	_ = p.stream.Close() // the connection is given up either way
}

// lastWords bounds the wait for the receiver's ErrorResponse.
const lastWords = 500 * time.Millisecond

func (o *PushOptions) setDefaults() {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&o.Heartbeat, 500*time.Millisecond)
	set(&o.Silence, 15*time.Second)
	set(&o.Drain, 2*time.Second)
	if o.Term == nil {
		o.Term = func() wal.Term { return 0 }
	}
	if o.OnFeedback == nil {
		o.OnFeedback = func(PushFeedback) {}
	}
}

// pushSession is one connection; its reader half (listen) tells its writer half
// (feed) through the fields under mu.
type pushSession struct {
	o      PushOptions
	stream *protocol.CopyStream
	codec  pushwal.Codec

	mu       sync.Mutex
	feedback PushFeedback
	epoch    int                // counts activations
	version  int                // counts feedbacks, so that none is slept through
	wake     context.CancelFunc // ends the writer's current wait
	closing  bool               // the writer is done: an end of the stream is no error
}

// greet exchanges greetings and takes the receiver's position.
func (p *pushSession) greet() error {
	g := p.o.Greeting
	g.TLIHistory = p.o.Source.History()
	g.TLI = g.TLIHistory.Last
	p.o.Greeting = g
	invariant.Point("sender/greeting/before")
	if err := errors.Join(p.stream.Send(p.codec.AppendProposerGreeting(nil, &g)), p.stream.Flush()); err != nil {
		return fmt.Errorf("send greeting: %w", err)
	}
	p.stream.SetReadIdle(p.o.Silence)
	msg, err := p.stream.Receive()
	if err != nil {
		return fmt.Errorf("receive greeting: %w", err)
	}
	var answer pushwal.AcceptorGreeting
	if err := p.codec.DecodeAcceptorGreeting(msg, &answer); err != nil {
		return fmt.Errorf("receive greeting: %w", err)
	}
	if answer.Options == nil {
		return ErrNotWalhaven
	}
	p.feedback.Write = answer.Options.LastRecordLSN
	return nil
}

// listen takes the receiver's reports until the stream ends.
func (p *pushSession) listen() error {
	for {
		msg, err := p.stream.Receive()
		if err != nil {
			return p.streamEnd(err)
		}
		changed, err := p.decodeFeedback(msg)
		if err != nil {
			return fmt.Errorf("receive feedback: %w", err)
		}
		if changed {
			p.o.OnFeedback(p.snapshot().feedback)
		}
	}
}

func (p *pushSession) streamEnd(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return nil
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("the receiver ended the session")
	}
	return fmt.Errorf("receive feedback: %w", err)
}

// note merges a report under the lock and wakes the writer.
func (p *pushSession) note(merge func(f *PushFeedback)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.feedback.Active
	merge(&p.feedback)
	p.feedback.At = time.Now()
	if p.feedback.Active && !was {
		p.epoch++
	}
	p.version++
	if p.wake != nil {
		p.wake()
	}
}

// pushView is a moment of what the reader half knows.
type pushView struct {
	feedback PushFeedback
	epoch    int
	version  int
}

func (p *pushSession) snapshot() pushView {
	p.mu.Lock()
	defer p.mu.Unlock()
	return pushView{feedback: p.feedback, epoch: p.epoch, version: p.version}
}
