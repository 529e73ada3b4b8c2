package walproposer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/walhaven/walhaven/internal/pause"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/receiver"
	"github.com/walhaven/walhaven/shmqueue"
	"github.com/walhaven/walhaven/wal"
)

// donorWait is the pause while there is nobody to fetch from.
const donorWait = 200 * time.Millisecond

// donorPatience is how long WAL that is not committed may wait for a donor while
// the queue stands still. Who holds the WAL from before the term, or the first
// part of a record longer than the queue, may be gone for good, while PostgreSQL
// could still send it: in another session, from further below.
const donorPatience = 5 * time.Second

// errRemoved says that nothing can fill a safekeeper: the others do not keep the
// WAL any more that it goes on with.
var errRemoved = errors.New("the others have removed WAL that it needs")

// errNoDonor asks for another session.
var errNoDonor = errors.New("it is needed for a quorum, and nobody who holds the WAL that it goes on with answers")

// feed sends WAL that the queue no longer has, from a safekeeper that does,
// until the queue has what follows.
func (c *pushConn) feed(ctx context.Context) error {
	c.t.metrics.feeds.Inc()
	c.link.rest()
	began, floor := time.Now(), c.consumer.Floor()
	for c.at < c.target() {
		uncommitted := c.at >= c.t.positions().commit
		if uncommitted && c.fed != c.at && c.at < c.consumer.Floor() {
			// Only parts of a record longer than the queue are released before they are
			// committed. Else the floor is not true.
			c.t.suspect()
		}
		c.fed = c.at
		if now := c.consumer.Floor(); now != floor {
			began, floor = time.Now(), now
		}
		peer, upto, ok := c.t.donor()
		if !ok || peer == c.peer || upto <= c.at || peer >= len(c.t.peers.all()) {
			if c.at >= c.consumer.Floor() {
				return nil // The queue has it, and nobody else the rest of a record longer than it.
			}
			if uncommitted && time.Since(began) > donorPatience {
				c.t.starve(c.peer)
				began = time.Now() // PostgreSQL, or the quorum, may just be slow.
			}
			if err := c.idle(ctx); err != nil {
				return err
			}
			continue
		}
		from := c.at
		err := c.feedFrom(ctx, source{peer: peer, upto: upto, term: &c.start.term})
		if protocol.SQLState(err) == protocol.CodeUndefinedFile {
			if other, ok := c.keeper(ctx); ok {
				c.t.logger.Info("the donor does not keep the WAL that a safekeeper goes on with, another one does", "safekeeper", c.t.peers.address(c.peer),
					"from", c.at, "donor", c.t.peers.address(peer), "other", c.t.peers.address(other.peer))
				peer, err = other.peer, c.feedFrom(ctx, other)
			}
		}
		if protocol.SQLState(err) == protocol.CodeUndefinedFile {
			c.t.stuck(c.peer, fmt.Sprintf("safekeeper %s cannot be filled from %s on: safekeeper %s does not keep that WAL any more, nor does another that answers; "+
				"with an empty data directory it can be replaced",
				c.t.peers.address(c.peer), c.at, c.t.peers.address(peer)))
			err = fmt.Errorf("%w: %w", errRemoved, err)
		}
		if err != nil {
			return fmt.Errorf("fetch WAL at %s from safekeeper %s: %w", c.at, c.t.peers.address(peer), err)
		}
		c.t.logger.Info("fed a lagging safekeeper", "safekeeper", c.t.peers.address(c.peer),
			"donor", c.t.peers.address(peer), "from", from, "to", c.at)
	}
	return nil
}

// target is where the queue can take over: some way above the floor, which
// moves while we feed.
func (c *pushConn) target() wal.LSN {
	floor := c.consumer.Floor()
	return floor + (c.consumer.Head()-floor)/4
}

// idle waits for a donor without letting the connection fall silent.
func (c *pushConn) idle(ctx context.Context) error {
	work, err := c.link.take()
	if err != nil {
		return err
	}
	if err := c.control(work); err != nil {
		return err
	}
	if err := c.beat(); err != nil {
		return err
	}
	return pause.For(ctx, donorWait)
}

// source is where WAL comes from that the queue no longer has.
type source struct {
	peer int
	upto wal.LSN
	term *wal.Term // that it is in, to read what is not committed; nil for what is
}

// keeper looks for a safekeeper that keeps the WAL to go on with, committed: that is
// the same everywhere, so that it need not be in this term.
func (c *pushConn) keeper(ctx context.Context) (best source, ok bool) {
	for peer := range c.t.peers.all() {
		if peer == c.peer || c.beat() != nil {
			continue
		}
		s, err := c.statusOf(ctx, peer)
		if err == nil && !s.Joining && s.Oldest <= c.at && s.CommitLSN > max(c.at, best.upto) {
			best, ok = source{peer: peer, upto: s.CommitLSN}, true
		}
	}
	return best, ok
}

func (c *pushConn) statusOf(ctx context.Context, peer int) (s replication.Status, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	o, err := c.t.dialOptions(ctx, peer)
	if err != nil {
		return s, err
	}
	rows, err := replication.Query(ctx, c.t.peers.all()[peer], "TIMELINE_STATUS", o)
	if err != nil || len(rows) == 0 {
		return s, errors.Join(errNoTimeline, err)
	}
	return replication.ParseStatus(rows[0])
}

// feedFrom forwards a donor's WAL up to the target or what the donor had.
func (c *pushConn) feedFrom(ctx context.Context, from source) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	o, err := c.t.dialOptions(ctx, from.peer)
	if err != nil {
		return err
	}
	o.Params["replication"], o.Params["application_name"] = "true", replication.FillApplication
	client, err := replication.Connect(ctx, c.t.peers.all()[from.peer], o)
	if err != nil {
		return err
	}
	defer client.Close() //nolint:errcheck // Reading left nothing to save.
	bound := c.start.bound(c.at)
	r, err := receiver.Start(ctx, client, c.at, receiver.Options{
		TLI: c.start.history.TLIAt(c.at), Term: from.term, Timeout: silentFor,
	})
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // As above.
	for c.at < from.upto && c.at < c.target() && (bound == 0 || c.at < bound) {
		at, data, err := r.Next()
		if err != nil {
			return err
		}
		if at != c.at {
			return fmt.Errorf("donor sends %s instead of %s", at, c.at)
		}
		if bound != 0 {
			data = data[:min(wal.LSN(len(data)), bound-c.at)]
		}
		if err := c.forward(data); err != nil {
			return err
		}
	}
	return nil
}

// forward sends bytes that did not come through the queue.
func (c *pushConn) forward(data []byte) error {
	for len(data) > 0 {
		part := data[:min(len(data), shmqueue.MaxFrame)]
		f := shmqueue.Frame{Range: wal.Range{Start: c.at, End: c.at + wal.LSN(len(part))}, CRC: shmqueue.Checksum(part)}
		f.Parts[0] = part
		if err := c.sendFrame(f); err != nil {
			return err
		}
		data = data[len(part):]
	}
	return nil
}
