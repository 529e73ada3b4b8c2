package sender

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/protocol/walstream"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walstore"
)

// session is one stream. The goroutine of Serve writes, another one reads: a
// client that does not read is still listened to, and neither half ever waits
// for the other to be able to go on.
type session struct {
	o       Options
	request Request
	tli     wal.TLI
	stream  *protocol.CopyStream

	// Of the writing goroutine.
	at       wal.LSN // everything below was sent
	buf      []byte
	lent     walstore.Lent // the file of the frame that is being sent, if one is
	header   [walstream.XLogDataHeaderSize]byte
	idle     *time.Timer // nudges when nothing was sent for Keepalive
	shutdown bool        // the stream ended by announcing a shutdown

	// What the reading goroutine wants the other to do.
	keepalive atomic.Bool // send one
	ask       atomic.Bool // ask for a reply in it
	draining  atomic.Bool
	guard     *time.Timer   // ends a session whose client is done but does not read
	confirmed atomic.Uint64 // flushed (or, if never reported, written) by the client

	reported chan struct{} // has room for one: a status update came

	mu      sync.Mutex
	waiting context.Context // of the present wait, reused until it has ended
	endWait context.CancelFunc
}

var (
	errTimeout = protocol.Fatalf("08006", "terminating WAL sender due to replication timeout")
	// errClientDone ends the writing half when the client sent CopyDone.
	errClientDone = errors.New("client ended the stream")
)

// run streams until the client ends it, the timeline does, or something fails.
func (s *session) run(parent context.Context, stream *protocol.CopyStream) error {
	s.stream = stream
	s.buf = make([]byte, walstream.MaxData)
	s.reported = make(chan struct{}, 1)
	s.idle = time.AfterFunc(s.o.Keepalive, s.wantKeepalive)
	defer s.idle.Stop()
	stop := context.AfterFunc(parent, func() { stream.Abort(context.Cause(parent)) })
	defer stop()
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)

	var wg sync.WaitGroup
	defer wg.Wait()
	reading := make(chan struct{})
	wg.Go(func() {
		defer close(reading)
		cancel(s.ended(s.receive()))
	})
	if s.o.Drain != nil {
		wg.Go(func() { s.awaitDrain(ctx) })
	}
	err := s.write(ctx)
	if err == nil && !s.shutdown {
		// The timeline is over: the client confirms by its CopyDone.
		err = stream.CloseSend()
		if err == nil {
			<-reading
			err = context.Cause(ctx)
		}
	}
	if err != nil && !errors.Is(err, errClientDone) {
		stream.Abort(err)
	} else if s.shutdown {
		stream.Abort(protocol.ErrStreamComplete)
	}
	<-reading
	if s.guard != nil {
		s.guard.Stop()
	}
	if errors.Is(err, errClientDone) {
		return nil
	}
	return err
}

// ended is what the end of receiving means for the writing half. A client that
// is gone or too slow to take what is under way ends it at once.
func (s *session) ended(received error) error {
	if errors.Is(received, io.EOF) {
		// What is under way may still be read, but not at leisure.
		s.guard = time.AfterFunc(s.o.Timeout, func() { s.stream.Abort(errTimeout) })
		return errClientDone
	}
	s.stream.Abort(received)
	return received
}

// awaitDrain passes a request to end on.
func (s *session) awaitDrain(ctx context.Context) {
	select {
	case <-s.o.Drain:
		s.draining.Store(true)
		s.nudge()
	case <-ctx.Done():
	}
}

// receive takes the client's messages until it ends the stream (io.EOF) or
// fails. A client that is silent for half the timeout is asked for a message.
func (s *session) receive() error {
	s.stream.SetReadIdle(s.o.Timeout / 2)
	asked := false
	for {
		payload, err := s.stream.Receive()
		switch {
		case err == nil:
			asked = false
			if err := s.take(payload); err != nil {
				return err
			}
		case !os.IsTimeout(err) && !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		case asked:
			return errTimeout
		default:
			asked = true
			s.ask.Store(true)
			s.wantKeepalive()
		}
	}
}

// take handles one message of the client. Its positions may be in any relation
// to each other and to what was sent.
func (s *session) take(payload []byte) error {
	switch kind := walstream.Kind(payload); kind {
	case walstream.KindStatusUpdate:
		var m walstream.StatusUpdate
		if err := walstream.DecodeStatusUpdate(payload, &m); err != nil {
			return violation(err)
		}
		s.confirm(&m)
	case walstream.KindHotStandbyFeedback:
		var m walstream.HotStandbyFeedback
		if err := walstream.DecodeHotStandbyFeedback(payload, &m); err != nil {
			return violation(err)
		}
		if s.o.OnHotStandby != nil {
			s.o.OnHotStandby(&m)
		}
	case walstream.KindPageserverFeedback:
		block, err := walstream.DecodePageserverFeedback(payload)
		var m pushwal.PageserverFeedback
		if err == nil {
			err = pushwal.DecodePageserverFeedback(block, &m)
		}
		if err != nil {
			return violation(err)
		}
		if s.o.OnPageserver != nil {
			s.o.OnPageserver(&m)
		}
	default:
		return protocol.Fatalf(protocol.CodeProtocolViolation, "unexpected message type %q", string(rune(kind)))
	}
	return nil
}

func violation(err error) error {
	return protocol.Fatalf(protocol.CodeProtocolViolation, "%w", err)
}

func (s *session) confirm(m *walstream.StatusUpdate) {
	position := m.Flush
	if position == 0 {
		position = m.Write
	}
	s.confirmed.Store(uint64(position))
	if s.o.OnStatus != nil {
		s.o.OnStatus(m)
	}
	if m.ReplyRequested {
		s.wantKeepalive()
	}
	select {
	case s.reported <- struct{}{}:
	default:
	}
}

// wantKeepalive has the writing half send a keepalive.
func (s *session) wantKeepalive() {
	s.keepalive.Store(true)
	s.nudge()
}

// nudge ends the writing half's wait.
func (s *session) nudge() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.endWait != nil {
		s.endWait()
	}
}
