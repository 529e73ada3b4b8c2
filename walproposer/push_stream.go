package walproposer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/shmqueue"
	"github.com/walhaven/walhaven/wal"
)

// begin starts streaming.
func (c *pushConn) begin(s *streamStart) (err error) {
	c.at, c.start = s.at, s
	c.request = pushwal.AppendRequest{Generation: s.generation, Term: s.term}
	if c.consumer, err = c.t.queue.Register(); err != nil {
		return err
	}
	if q, ok := c.t.queue.(ringer); ok {
		q.RingBy(c.consumer.ID(), c.direct)
	}
	c.heard.Store(shmqueue.Now())
	if c.given {
		c.t.logger.Debug("sending to safekeeper without the push worker", "safekeeper", c.t.peers.address(c.peer), "from", s.at)
	} else {
		c.t.logger.Info("streaming to safekeeper", "safekeeper", c.t.peers.address(c.peer), "term", uint64(s.term), "from", s.at)
	}
	return c.sendFrame(shmqueue.Frame{Range: wal.Range{Start: c.at, End: c.at}})
}

// beat keeps an idle connection known to be alive, on both sides.
func (c *pushConn) beat() error {
	heard := c.heard.Load()
	if silent := time.Duration(shmqueue.Now() - heard); silent > silentFor {
		return fmt.Errorf("no answer for %s", silent.Round(time.Second))
	}
	if time.Since(c.last) < heartbeatEvery/2 {
		return nil
	}
	return c.sendFrame(shmqueue.Frame{Range: wal.Range{Start: c.at, End: c.at}})
}

// pump sends all WAL that there is. The commit position goes along, and on its
// own if that is asked for and no WAL went.
func (c *pushConn) pump(ctx context.Context, announce bool) error {
	if c.unwritten {
		if err := c.stream.Flush(); err != nil {
			return err
		}
		c.unwritten = false
	}
	for {
		f, ok, err := c.consumer.Try(c.at, c.start.bound(c.at))
		if errors.Is(err, shmqueue.ErrBehindFloor) {
			if c.given {
				return errToBeFed
			}
			if err := c.feed(ctx); err != nil {
				return err
			}
			continue
		}
		if err != nil && !errors.Is(err, shmqueue.ErrClosed) {
			return err
		}
		if !c.caughtUp {
			c.caughtUp = true
			c.t.stuck(c.peer, "")
			if c.hurry != nil {
				c.t.spares.comes(c.peer, spareConn{hurry: c.hurry, trip: c.roundTrip, waits: c.sent.Oldest})
			}
		}
		if !ok {
			break
		}
		err = c.sendFrame(f)
		c.consumer.Unpin()
		if err != nil {
			return err
		}
	}
	if !c.offered && c.stream.Detachable() {
		c.offered = true
		c.link.offer()
	}
	if announce && c.t.positions().commit > c.announced {
		return c.sendFrame(shmqueue.Frame{Range: wal.Range{Start: c.at, End: c.at}})
	}
	return nil
}

// sendFrame sends one AppendRequest, in one write, straight from the queue.
func (c *pushConn) sendFrame(f shmqueue.Frame) error {
	began := c.frame(f)
	invariant.Point("walproposer/push/before")
	if err := c.stream.Send(c.parts[:]...); err != nil {
		return err
	}
	if err := c.stream.Flush(); err != nil {
		return err
	}
	c.handedOver(began, f)
	return nil
}

// frame makes the parts of an AppendRequest, and says when.
func (c *pushConn) frame(f shmqueue.Frame) (began time.Time) {
	m := &c.request
	m.Begin, m.End, m.CRC = f.Range.Start, f.Range.End, f.CRC
	p := c.t.positions()
	m.CommitLSN, m.TruncateLSN = p.commit, p.truncate
	m.TLI = c.start.history.TLIAt(m.Begin)
	c.buf = wireCodec.AppendAppendRequestHeader(c.buf[:0], m)
	c.parts = [3][]byte{c.buf, f.Parts[0], f.Parts[1]}
	began = time.Now()
	if f.Range.Len() > 0 {
		c.sent.Add(m.End, began)
		if c.told != nil {
			c.told.gave(m.End, m.CommitLSN)
		}
	}
	return began
}

// handedOver notes that a frame which was begun to be sent then is the kernel's,
// or waits for nothing but room there.
func (c *pushConn) handedOver(began time.Time, f shmqueue.Frame) {
	invariant.Point("walproposer/push/after")
	c.at, c.announced, c.last = c.request.End, c.request.CommitLSN, began
	if f.Range.Len() == 0 {
		return
	}
	if f.Published != 0 && !c.kept { // by the queue, to be sent at once
		c.t.metrics.queueWait.Observe(time.Duration(shmqueue.At(began) - f.Published).Seconds())
	}
	c.kept = false
	c.t.metrics.send.Observe(time.Since(began).Seconds())
	c.t.metrics.pushed.Add(float64(f.Range.Len()))
}
