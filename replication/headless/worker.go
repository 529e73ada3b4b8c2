package headless

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/walhaven/walhaven/internal/pause"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
)

const (
	dialTimeout    = 5 * time.Second
	reconnectEvery = 500 * time.Millisecond
	heartbeatEvery = time.Second
	// silentFor is how long a safekeeper may leave heartbeats unanswered.
	silentFor = 10 * time.Second
)

// worker speaks to one safekeeper. It decides nothing: what to send comes from
// the proposer, and WAL from the one that holds the best position.
type worker struct {
	o    Options
	d    *replication.Proposing
	peer int
	last error // why the last connection ended; valid when run has returned
}

// run connects again and again until ctx is done.
func (w *worker) run(ctx context.Context) error {
	for {
		err := w.connect(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		w.last = err
		w.o.logger().Debug("no connection to a safekeeper", "safekeeper", w.o.Peers[w.peer].Name, "err", err)
		if err := pause.For(ctx, reconnectEvery); err != nil {
			return err
		}
	}
}

func (w *worker) connect(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	o := w.o.dial(dialTimeout, nil)
	o.MaxFrame = pushwal.MaxMessage
	stream, err := replication.Dial(gctx, w.o.Peers[w.peer].Conninfo, pushwal.StartPush, o)
	if err != nil {
		return err
	}
	defer stream.Close() //nolint:errcheck // Nobody listens any more.
	c := &conn{worker: w, stream: stream, link: w.d.Connect(w.peer), codec: pushwal.Codec{Version: pushwal.Version3, Walhaven: true}}
	c.answers = c.codec
	defer c.link.Close()
	g.Go(c.receive)
	g.Go(func() error { return c.send(gctx) })
	return g.Wait()
}

// conn is one connection to a safekeeper.
type conn struct {
	*worker
	stream *protocol.CopyStream
	link   *replication.Link
	codec  pushwal.Codec

	// answers is the codec of what the safekeeper sends; of the receiving goroutine.
	answers pushwal.Codec

	// Of the sending goroutine.
	election  *consensus.Election // set once the stream begins
	at        wal.LSN             // next byte to send
	announced wal.LSN             // commit position sent
	buf       []byte
}

// receive hands messages to the proposer until the connection ends.
func (c *conn) receive() error {
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

func (c *conn) take(payload []byte) error {
	switch kind := pushwal.Kind(payload); kind {
	case pushwal.KindGreeting:
		m := new(pushwal.AcceptorGreeting)
		if err := c.answers.DecodeAcceptorGreeting(payload, m); err != nil {
			return err
		}
		if m.Options == nil {
			return fmt.Errorf("node %d does not speak walhaven's form of START_WAL_PUSH: %w", m.NodeID, consensus.ErrNegotiation)
		}
		c.answers = c.answers.Negotiated(m.Options.Walhaven)
		return c.link.Greeted(m)
	case pushwal.KindVote:
		m := new(pushwal.VoteResponse)
		if err := c.answers.DecodeVoteResponse(payload, m); err != nil {
			return err
		}
		return c.link.Voted(m)
	case pushwal.KindAppend:
		m := new(pushwal.AppendResponse)
		if err := c.answers.DecodeAppendResponse(payload, m); err != nil {
			return err
		}
		c.stream.SetReadIdle(silentFor) // from now on heartbeats are answered
		return c.link.Appended(m)
	case pushwal.KindConfiguration:
		m := new(pushwal.ConfigurationResponse)
		if err := c.answers.DecodeConfigurationResponse(payload, m); err != nil {
			return err
		}
		return c.link.Configured(m)
	case pushwal.KindMembership:
		m := new(pushwal.MembershipRequest)
		if err := c.answers.DecodeMembershipRequest(payload, m); err != nil {
			return err
		}
		return c.link.Requested(m)
	default:
		return fmt.Errorf("unexpected message %q", kind)
	}
}

// send sends what the proposer asks for, and WAL up to the term's start.
func (c *conn) send(ctx context.Context) error {
	if err := c.message(c.link.Greeting()); err != nil {
		return err
	}
	heartbeat := time.NewTicker(heartbeatEvery)
	defer heartbeat.Stop()
	for {
		work, err := c.link.Take()
		if err != nil {
			return err
		}
		for _, m := range work.Messages {
			if err := c.message(m); err != nil {
				return err
			}
		}
		if work.Start != nil {
			c.election, c.at = c.d.Election(), work.Start.At
			if err := c.append(nil); err != nil {
				return err
			}
		}
		if err := c.fill(ctx); err != nil {
			return err
		}
		if c.election != nil && c.d.CommitLSN() > c.announced {
			if err := c.append(nil); err != nil {
				return err
			}
		}
		select {
		case <-c.link.Wake():
		case <-heartbeat.C:
			if err := c.beat(); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (c *conn) message(m pushwal.ProposerMessage) error {
	switch m := m.(type) {
	case *pushwal.ProposerGreeting:
		c.buf = c.codec.AppendProposerGreeting(c.buf[:0], m)
	case *pushwal.VoteRequest:
		c.buf = c.codec.AppendVoteRequest(c.buf[:0], m)
	case *pushwal.ProposerElected:
		c.buf = c.codec.AppendProposerElected(c.buf[:0], m)
	case *pushwal.ConfigurationRequest:
		c.buf = c.codec.AppendConfigurationRequest(c.buf[:0], m)
	default:
		return fmt.Errorf("message %T is not the proposer's to send", m)
	}
	if err := c.stream.Send(c.buf); err != nil {
		return err
	}
	return c.stream.Flush()
}

// beat keeps an idle stream known to be alive.
func (c *conn) beat() error {
	if c.election == nil {
		return nil
	}
	return c.append(nil)
}

// append sends one AppendRequest with WAL that goes on where the last one ended,
// or none.
func (c *conn) append(data []byte) error {
	m := pushwal.AppendRequest{
		Generation: c.d.Configuration().Generation, Term: c.election.Term,
		Begin: c.at, End: c.at + wal.LSN(len(data)), CommitLSN: c.d.CommitLSN(), TruncateLSN: c.d.TruncateLSN(),
		TLI: c.election.TLIHistory.TLIAt(c.at), CRC: pushwal.Checksum(data), WAL: data,
	}
	c.buf = c.codec.AppendAppendRequestHeader(c.buf[:0], &m)
	if err := c.stream.Send(c.buf, data); err != nil {
		return err
	}
	c.at, c.announced = m.End, m.CommitLSN
	return c.stream.Flush()
}
