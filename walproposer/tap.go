package walproposer

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/walstream"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/receiver"
	"github.com/walhaven/walhaven/shmqueue"
	"github.com/walhaven/walhaven/wal"
)

// tap takes WAL from PostgreSQL into the queue, within one connection.
type tap struct {
	s        *session
	at       wal.LSN // next byte
	main     wal.LSN // where the connection that is kept begins
	reporter *reporter
	stream   *protocol.CopyStream
	early    *early // nil: WAL comes from the stream alone
	stopping atomic.Bool
	// probe has a token when PostgreSQL seems to want to stop.
	probe chan struct{}
}

func newTap(s *session, at wal.LSN, r *reporter) *tap {
	return &tap{s: s, at: at, reporter: r, probe: make(chan struct{}, 1)}
}

// open starts streaming. WAL from before the segment in which the server was
// promoted lies in files of the older timeline: it is read over a second
// connection, while the first, already streaming, guarantees that the server is
// one and the same.
func (t *tap) open(ctx context.Context, c *replication.Client) error {
	history := t.s.server.TLIHistory
	begin, _ := history.Begin(history.Last)
	t.main = max(t.at, t.s.server.SegmentSize.SegmentStart(begin))
	command := fmt.Sprintf("START_REPLICATION SLOT %s PHYSICAL %s TIMELINE %d", t.s.o.Slot, t.main, history.Last)
	stream, _, err := c.Stream(ctx, command)
	if err != nil {
		return fmt.Errorf("PostgreSQL: %s: %w", command, err)
	}
	if stream == nil {
		return fmt.Errorf("PostgreSQL: %s: the timeline has ended", command)
	}
	stream.OwnThread()
	t.stream = stream
	t.reporter.attach(stream)
	return nil
}

// catchUp reads what lies before the first byte of the main connection.
func (t *tap) catchUp(ctx context.Context) error {
	history := t.s.server.TLIHistory
	for t.at < t.main {
		tli := history.TLIAt(t.at)
		end := t.main
		if point, _, ok := history.SwitchPoint(tli); ok {
			end = min(end, point)
		}
		if err := t.readOlder(ctx, tli, end); err != nil {
			return err
		}
	}
	return nil
}

// readOlder reads WAL of an older timeline up to end.
func (t *tap) readOlder(ctx context.Context, tli wal.TLI, end wal.LSN) error {
	c, err := connectReplication(ctx, t.s.o.origin())
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // Reading left nothing to save.
	r, err := receiver.Start(ctx, c, t.at, receiver.Options{TLI: tli})
	if err != nil {
		return t.ended(err)
	}
	defer r.Close() //nolint:errcheck // As above.
	for t.at < end {
		at, data, err := r.Next()
		if err != nil {
			return t.ended(err)
		}
		if err := t.take(ctx, at, data[:min(wal.LSN(len(data)), end-at)]); err != nil {
			return err
		}
	}
	return nil
}

// close ends the connection.
func (t *tap) close() {
	t.reporter.attach(nil)
	_ = t.stream.Close()
}

// stop keeps further WAL out of the queue.
func (t *tap) stop() { t.stopping.Store(true) }

// receive runs until the stream ends.
func (t *tap) receive(ctx context.Context) error {
	if err := t.catchUp(ctx); err != nil {
		return err
	}
	var data walstream.XLogData
	var keepalive walstream.Keepalive
	for {
		head, rest, err := t.stream.ReceiveHead(walstream.XLogDataHeaderSize)
		if err != nil {
			return t.ended(err)
		}
		switch walstream.Kind(head) {
		case walstream.KindXLogData:
			if err := walstream.DecodeXLogData(head, &data); err != nil {
				return fmt.Errorf("PostgreSQL: %w", err)
			}
			if t.early != nil {
				err = t.early.receive(ctx, &data, rest)
			} else {
				err = t.read(ctx, data.Start, rest)
			}
			if err != nil {
				return err
			}
		case walstream.KindKeepalive:
			if err := walstream.DecodeKeepalive(head, &keepalive); err != nil {
				return fmt.Errorf("PostgreSQL: %w", err)
			}
			t.keepalive(&keepalive)
		default:
			return fmt.Errorf("PostgreSQL: unknown message %q in the WAL stream", head[:min(1, len(head))])
		}
	}
}

// ended names the end of the stream.
func (t *tap) ended(err error) error {
	var e *protocol.Error
	switch {
	case errors.Is(err, protocol.ErrStreamComplete):
		return errors.New("PostgreSQL has shut down")
	case errors.Is(err, protocol.ErrPeerClosed):
		return errors.New("PostgreSQL closed the connection")
	case errors.As(err, &e) && e.Code == walRemoved:
		return refuse("PostgreSQL has removed WAL that is needed to prove its history").
			detail("%s", e.Message).hint(hintRebuild)
	}
	return fmt.Errorf("PostgreSQL: %w", err)
}

// walRemoved is the SQLSTATE of "requested WAL segment has already been removed".
const walRemoved = "58P01"

// read reads the n bytes of WAL that come next from the socket straight into the
// queue.
func (t *tap) read(ctx context.Context, at wal.LSN, n int) error {
	if err := t.expect(at); err != nil {
		return err
	}
	for n > 0 {
		began := time.Now()
		parts, err := t.s.queue.Reserve(ctx, min(n, shmqueue.MaxFrame))
		if err != nil {
			return err
		}
		waited := time.Since(began)
		for _, part := range parts {
			if err := t.stream.ReadRest(part); err != nil {
				return t.ended(err)
			}
		}
		k := len(parts[0]) + len(parts[1])
		n -= k
		if t.stopping.Load() {
			continue // read and not published
		}
		invariant.Point("walproposer/tap/received")
		began = time.Now()
		t.advance(parts[0], parts[1])
		t.s.queue.Publish(k)
		t.published(k, waited+time.Since(began))
	}
	return nil
}

// take puts WAL that was read elsewhere into the queue.
func (t *tap) take(ctx context.Context, at wal.LSN, data []byte) error {
	if err := t.expect(at); err != nil {
		return err
	}
	if t.stopping.Load() {
		return nil
	}
	invariant.Point("walproposer/tap/received")
	began := time.Now()
	t.advance(data)
	if err := t.s.queue.Write(ctx, data); err != nil {
		return err
	}
	t.published(len(data), time.Since(began))
	return nil
}

// expect refuses WAL that does not continue what is there.
func (t *tap) expect(at wal.LSN) error {
	if at != t.at && !t.stopping.Load() {
		return fmt.Errorf("PostgreSQL sends WAL at %s instead of %s", at, t.at)
	}
	return nil
}

// advance tells the proof and the proposer of WAL before a peer can have it: no
// acknowledgement counts beyond.
func (t *tap) advance(parts ...[]byte) {
	for _, part := range parts {
		if len(part) > 0 {
			t.s.proof.feed(t.at, part)
			t.at += wal.LSN(len(part))
		}
	}
	t.s.term.d.Available(t.at)
}

// published notes that n bytes are in the queue, after so long.
func (t *tap) published(n int, after time.Duration) {
	invariant.Point("walproposer/tap/queued")
	t.s.metrics.publish.Observe(after.Seconds())
	t.s.metrics.received.Add(float64(n))
}

// keepalive answers when asked. While PostgreSQL stops it asks without a pause
// until everything is flushed, so answers that say nothing new are limited.
func (t *tap) keepalive(k *walstream.Keepalive) {
	if !k.ReplyRequested {
		return
	}
	t.reporter.requested()
	if t.reporter.last() < k.WALEnd {
		select {
		case t.probe <- struct{}{}:
		default:
		}
	}
}

// reportEvery is the pause between reports while nothing changes.
const reportEvery = time.Second

// keepReporting reports on a timer, whether or not there is a quorum.
func (t *tap) keepReporting(ctx context.Context) error {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			t.reporter.again()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
