package walproposer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/shmqueue"
	"github.com/walhaven/walhaven/wal"
)

const (
	startPush = "START_WAL_PUSH (proto_version '3', allow_timeline_creation 'false', walhaven '1')"

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
	t    *term
	peer int
}

func newPusher(t *term, peer int) *pusher { return &pusher{t: t, peer: peer} }

// run connects again and again until ctx is done.
func (p *pusher) run(ctx context.Context) error {
	wait := reconnectFirst
	for {
		began := time.Now()
		err := p.connect(ctx)
		p.t.heard[p.peer].Store(0)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		p.t.metrics.reconnects.Inc()
		if time.Since(began) > reconnectLast {
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
		if err := pause(ctx, wait); err != nil {
			return err
		}
		wait = min(2*wait, reconnectLast)
	}
}

// connect runs one connection.
func (p *pusher) connect(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	stream, err := replication.Dial(gctx, p.t.peers.conninfos[p.peer], startPush, p.t.peers.dialOptions(pushTimeout))
	if isUndefined(err) {
		if err := p.found(ctx); err != nil {
			return err
		}
		return errFounded
	}
	if err != nil {
		return err
	}
	defer stream.Close() //nolint:errcheck // Nobody listens any more.
	c := &pushConn{
		t: p.t, peer: p.peer, stream: stream, link: p.t.d.Connect(p.peer),
		codec: pushwal.Codec{Version: pushwal.Version3, Walhaven: true},
	}
	defer c.link.Close()
	g.Go(func() error { return c.receive() })
	g.Go(func() error { return c.send(gctx) })
	return g.Wait()
}

// errFounded asks for another connection.
var errFounded = errors.New("the timeline was founded there for a joining node")

// pushConn is one connection to a safekeeper.
type pushConn struct {
	t      *term
	peer   int
	stream *protocol.CopyStream
	link   *replication.Link
	codec  pushwal.Codec

	sent replication.Marks // frames without an answer

	// Of the sending goroutine.
	consumer  shmqueue.Consumer
	election  *consensus.Election
	request   pushwal.AppendRequest
	buf       []byte
	at        wal.LSN // next byte to send
	announced wal.LSN // commit position sent
	caughtUp  bool    // the queue has what comes next
	last      time.Time
	parts     [3][]byte

	// Of the receiving goroutine.
	greeting pushwal.AcceptorGreeting
	vote     pushwal.VoteResponse
	response pushwal.AppendResponse
	answered bool
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
	case pushwal.KindGreeting:
		c.greeting = pushwal.AcceptorGreeting{}
		if err := c.codec.DecodeAcceptorGreeting(payload, &c.greeting); err != nil {
			return err
		}
		if c.greeting.Options == nil {
			return fmt.Errorf("node %d does not speak walhaven's form of START_WAL_PUSH: %w", c.greeting.NodeID, consensus.ErrNegotiation)
		}
		return c.link.Greeted(&c.greeting)
	case pushwal.KindVote:
		c.vote = pushwal.VoteResponse{}
		if err := c.codec.DecodeVoteResponse(payload, &c.vote); err != nil {
			return err
		}
		return c.link.Voted(&c.vote)
	case pushwal.KindAppend:
		if err := c.codec.DecodeAppendResponse(payload, &c.response); err != nil {
			return err
		}
		c.t.heard[c.peer].Store(shmqueue.Now())
		if !c.answered {
			// From now on heartbeats are answered. A peer that stopped taking anything
			// holds up the sending half, so that only this one can notice.
			c.answered = true
			c.stream.SetReadIdle(silentFor)
		}
		if err := c.link.Appended(&c.response); err != nil {
			return err
		}
		c.sent.Reach(c.response.FlushLSN, time.Now(), c.t.metrics.observeRoundTrip)
		return nil
	}
	return fmt.Errorf("unexpected message %q", pushwal.Kind(payload))
}

// send sends what the proposer asks for, and WAL as it comes.
func (c *pushConn) send(ctx context.Context) error {
	if err := c.sendMessage(c.link.Greeting()); err != nil {
		return err
	}
	heartbeat := time.NewTicker(heartbeatEvery)
	defer heartbeat.Stop()
	var published, revoked <-chan struct{} // of the queue, once there is a consumer
	for {
		work, err := c.link.Take()
		if err != nil {
			return err
		}
		if err := c.control(work); err != nil {
			return err
		}
		if work.Start != nil {
			if err := c.begin(work.Start); err != nil {
				return err
			}
			defer c.consumer.Close()
			published, revoked = c.consumer.Wake(), c.consumer.Revoked()
			stop := c.abortOnRevoke(ctx, revoked)
			defer stop()
		}
		if c.consumer != nil {
			if err := c.pump(ctx); err != nil {
				return err
			}
		}
		select {
		case <-c.link.Wake():
		case <-published:
		case <-revoked:
			return shmqueue.ErrRevoked
		case <-heartbeat.C:
			if err := c.beat(); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
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
		case <-ctx.Done():
		}
	}()
	return func() { cancel(); <-done }
}

// control sends the proposer's messages.
func (c *pushConn) control(w replication.LinkWork) error {
	for _, m := range w.Messages {
		if err := c.sendMessage(m); err != nil {
			return err
		}
	}
	return nil
}

func (c *pushConn) sendMessage(m pushwal.ProposerMessage) error {
	switch m := m.(type) {
	case *pushwal.ProposerGreeting:
		c.buf = c.codec.AppendProposerGreeting(c.buf[:0], m)
	case *pushwal.VoteRequest:
		c.buf = c.codec.AppendVoteRequest(c.buf[:0], m)
	case *pushwal.ProposerElected:
		c.buf = c.codec.AppendProposerElected(c.buf[:0], m)
	default:
		return fmt.Errorf("message %T is not the proposer's to send", m)
	}
	invariant.Point("walproposer/control/before")
	if err := c.stream.Send(c.buf); err != nil {
		return err
	}
	return c.stream.Flush()
}
