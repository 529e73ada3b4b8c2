package walproposer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/internal/pause"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/shmqueue"
	"github.com/walhaven/walhaven/wal"
)

const (
	reconnectFirst = 50 * time.Millisecond
	reconnectLast  = 10 * time.Second
	// reconnectUrgent bounds the pause while commits wait for a quorum.
	reconnectUrgent = 500 * time.Millisecond
	pushTimeout     = 5 * time.Second
	heartbeatEvery  = time.Second
	// silentFor is how long a streaming peer may leave heartbeats unanswered.
	silentFor = 10 * time.Second
)

// pusher brings WAL to one safekeeper. It decides nothing: what to send comes
// from the proposer's link and from the queue.
type pusher struct {
	t    *pushing
	peer int
}

func newPusher(t *pushing, peer int) *pusher { return &pusher{t: t, peer: peer} }

// pushing is what a push worker works with.
type pushing struct {
	director
	queue   registrar
	peers   *peers
	logins  logins // nil: the peers' connection strings say it all
	metrics *metrics
	logger  *slog.Logger
	spares  *spares // of the tap
}

// run connects again and again until ctx is done.
func (p *pusher) run(ctx context.Context) error {
	wait := reconnectFirst
	for {
		began := time.Now()
		progressed, err := p.connect(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		p.t.metrics.reconnects.Inc()
		if hintsAtDamage(err) {
			p.t.suspect()
		}
		if progressed || time.Since(began) > reconnectLast {
			wait = reconnectFirst
		}
		if wait <= reconnectFirst {
			p.t.logger.Warn("lost a safekeeper", "safekeeper", p.t.peers.address(p.peer), "err", err)
		} else {
			p.t.logger.Debug("no connection to a safekeeper", "safekeeper", p.t.peers.address(p.peer), "err", err)
		}
		if !p.t.quorum() {
			wait = min(wait, reconnectUrgent)
		}
		if err := pause.For(ctx, wait); err != nil {
			return err
		}
		wait = min(2*wait, reconnectLast)
	}
}

// connect runs one connection. Progressed says that the safekeeper took WAL: its
// end is no reason to be patient with the next one.
func (p *pusher) connect(ctx context.Context) (progressed bool, err error) {
	g, gctx := errgroup.WithContext(ctx)
	o, err := p.t.dialOptions(gctx, p.peer)
	if err != nil {
		return false, err
	}
	o.MaxFrame = pushwal.MaxMessage
	stream, err := replication.Dial(gctx, p.t.peers.all()[p.peer], pushwal.StartPush, o)
	if isUndefined(err) {
		if err := p.t.found(ctx, p.peer); err != nil {
			return false, err
		}
		return false, errFounded
	}
	if err != nil {
		return false, err
	}
	defer stream.Close() //nolint:errcheck // Nobody listens any more.
	stream.OwnThread()
	link, err := p.t.connect(p.peer)
	if err != nil {
		return false, err
	}
	defer link.close()
	c := &pushConn{t: p.t, peer: p.peer, stream: stream, link: link, codec: wireCodec}
	err = c.run(gctx, g)
	if errors.Is(err, errGiven) {
		return c.progressed, c.give(ctx)
	}
	return c.progressed, err
}

// errFounded asks for another connection.
var errFounded = errors.New("the timeline was founded there for a joining node")

// pushConn is one connection to a safekeeper.
type pushConn struct {
	t      *pushing
	peer   int
	stream *protocol.CopyStream
	link   link
	given  bool // by a worker to the tap, which feeds nobody
	// hurry has a token when WAL that was kept back has to go; nil unless the safekeeper
	// runs on this machine and the tap sends to it.
	hurry chan struct{}
	// told hears of WAL that was sent; nil but in the tap.
	told *told

	// codec is that of what the safekeeper sends; of the receiving goroutine.
	codec pushwal.Codec

	sent  replication.Marks // frames without an answer
	trip  atomic.Int64      // nanoseconds until WAL is answered, smoothed
	heard atomic.Int64      // when it last answered, of the queue's clock

	// turn is held by whoever sends: the sending goroutine whenever it does not wait
	// for work, and for good at its end; else, for a moment, whoever puts WAL into
	// the queue.
	turn sync.Mutex

	// Under turn.
	consumer  shmqueue.Consumer
	start     *streamStart
	request   pushwal.AppendRequest
	buf       []byte
	at        wal.LSN // next byte to send
	announced wal.LSN // commit position sent
	caughtUp  bool    // the queue has what comes next
	offered   bool    // the tap was told so
	fed       wal.LSN // where a donor was last looked for
	last      time.Time
	parts     [3][]byte
	unwritten bool // a part of what was sent waits for Flush
	kept      bool // what is sent next was kept back

	// Of the receiving goroutine.
	response   pushwal.AppendResponse
	answered   bool
	had        wal.LSN // its flush position by the first answer
	progressed bool    // that has moved since
}

// run goes on until either half fails, or the connection is to be given away and
// neither half has begun anything (errGiven). The stream's context is the group's.
func (c *pushConn) run(ctx context.Context, g *errgroup.Group) error {
	var received error
	g.Go(func() error {
		received = c.receive()
		return received
	})
	g.Go(func() error { return c.send(ctx) })
	err := g.Wait()
	if errors.Is(err, errGiven) && !errors.Is(received, errGiven) {
		return received
	}
	return err
}

// receive hands messages to the proposer until the connection ends.
func (c *pushConn) receive() error {
	for {
		payload, err := c.stream.Receive()
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		if err := c.take(payload); err != nil {
			return err
		}
	}
}

func (c *pushConn) take(payload []byte) error {
	switch pushwal.Kind(payload) {
	case pushwal.KindAppend:
	case pushwal.KindGreeting:
		// It is for the proposer to judge; here it says how answers to WAL are made.
		var g pushwal.AcceptorGreeting
		if err := c.codec.DecodeAcceptorGreeting(payload, &g); err == nil && g.Options != nil {
			c.codec = c.codec.Negotiated(g.Options.Walhaven)
		}
		return c.link.received(payload)
	default:
		return c.link.received(payload)
	}
	c.heard.Store(shmqueue.Now())
	if err := c.link.received(payload); err != nil {
		return err
	}
	if err := c.codec.DecodeAppendResponse(payload, &c.response); err != nil {
		return err
	}
	if !c.answered {
		// From now on heartbeats are answered, as they are from the start where another
		// process gave the connection. A peer that stopped taking anything holds up the
		// sending half, so that only this one can notice.
		c.answered, c.had = true, c.response.FlushLSN
		c.stream.SetReadIdle(silentFor)
	}
	c.progressed = c.progressed || c.response.FlushLSN > c.had
	c.reached(c.response.FlushLSN, time.Now())
	return nil
}

// smoothing is how many answers the time until one goes by.
const smoothing = 8

// reached takes how far the safekeeper says that it is. However many frames an answer
// is for, it counts once: one that waited for a processor makes nobody slow.
func (c *pushConn) reached(flush wal.LSN, now time.Time) {
	var longest time.Duration
	c.sent.Reach(flush, now, func(d time.Duration) {
		c.t.metrics.roundTrip.Observe(d.Seconds())
		longest = max(longest, d)
	})
	if longest == 0 {
		return
	}
	was := c.trip.Load() // Only this goroutine writes it.
	if was == 0 {
		was = int64(longest)
	}
	c.trip.Store(was + (int64(longest)-was)/smoothing)
}

// roundTrip is how long the safekeeper takes to answer of late, 0 when not known.
func (c *pushConn) roundTrip() time.Duration { return time.Duration(c.trip.Load()) }

// send sends what the proposer asks for, and WAL as it comes.
func (c *pushConn) send(ctx context.Context) error {
	heartbeat := time.NewTicker(heartbeatEvery)
	defer heartbeat.Stop()
	w := waits{tick: heartbeat.C}
	c.turn.Lock()
	for {
		work, err := c.link.take()
		if err != nil {
			return err
		}
		if err := c.control(work); err != nil {
			return err
		}
		if work.start != nil {
			if err := c.begin(work.start); err != nil {
				return err
			}
			defer c.consumer.Close()
			w.published, w.revoked, w.hurry = c.consumer.Wake(), c.consumer.Revoked(), c.hurry
			stop := c.abortOnRevoke(ctx, w.revoked)
			defer stop()
		}
		if c.consumer != nil {
			if err := c.pump(ctx, work.announce); err != nil {
				return err
			}
			if err := c.beat(); err != nil {
				return err
			}
		}
		c.turn.Unlock()
		err = c.link.wait(ctx, w)
		c.turn.Lock()
		if err != nil {
			return err
		}
	}
}

// abortOnRevoke breaks the connection when the queue needs the bytes that a
// stuck write is sending from.
func (c *pushConn) abortOnRevoke(ctx context.Context, revoked <-chan struct{}) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-revoked:
			c.stream.Abort(shmqueue.ErrRevoked)
			_ = c.stream.Close() // Whoever writes from the queue stops at once.
		case <-ctx.Done():
		}
	}()
	return func() { cancel(); <-done }
}

// control sends the proposer's messages, the last ones before the connection is to
// be given away (errGiven).
func (c *pushConn) control(w pushWork) error {
	if err := c.sendAll(w.messages); err != nil {
		return err
	}
	if w.give {
		c.stream.Abort(errGiven)
		return errGiven
	}
	return nil
}

func (c *pushConn) sendAll(messages [][]byte) error {
	if len(messages) == 0 {
		return nil
	}
	for _, m := range messages {
		invariant.Point("walproposer/control/before")
		if err := c.stream.Send(m); err != nil {
			return err
		}
	}
	if err := c.stream.Flush(); err != nil {
		return err
	}
	invariant.Point("walproposer/control/after")
	return nil
}
