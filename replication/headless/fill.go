package headless

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/walhaven/walhaven/internal/pause"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/receiver"
	"github.com/walhaven/walhaven/wal"
)

const (
	donorWait = 200 * time.Millisecond
	// donorPatience is how long a run that has not committed anything waits for
	// the one that holds the best position. It may be gone for good; another
	// campaign then does without it, if it was needed for no commit.
	donorPatience = 5 * time.Second
)

// errNoDonor ends a run whose best voter went.
var errNoDonor = errors.New("the safekeeper that holds the most WAL does not answer any more")

// fill sends what the safekeeper lacks up to the term's start.
func (c *conn) fill(ctx context.Context) error {
	if c.election == nil {
		return nil
	}
	began := time.Now()
	for c.at < c.election.Start {
		if _, err := c.link.Take(); err != nil {
			return err
		}
		donor, upto, ok := c.d.Donor()
		if !ok || donor == c.peer || upto <= c.at {
			if c.d.CommitLSN() == 0 && time.Since(began) > donorPatience {
				c.d.Fail(errNoDonor)
				return errNoDonor
			}
			if err := pause.For(ctx, donorWait); err != nil {
				return err
			}
			if err := c.beat(); err != nil {
				return err
			}
			continue
		}
		err := c.fillFrom(ctx, donor, min(upto, c.election.Start), &c.election.Term)
		if protocol.SQLState(err) == protocol.CodeUndefinedFile {
			if other, committed, ok := c.keeper(ctx); ok {
				donor, err = other, c.fillFrom(ctx, other, min(committed, c.election.Start), nil)
			}
		}
		if err != nil {
			return fmt.Errorf("fetch WAL at %s from safekeeper %s: %w", c.at, c.o.Peers[donor].Name, err)
		}
		began = time.Now()
	}
	return nil
}

// keeper looks for a safekeeper that keeps the WAL to go on with, committed: that is
// the same everywhere, so that it need not be in this term.
func (c *conn) keeper(ctx context.Context) (best int, upto wal.LSN, ok bool) {
	for peer := range c.o.Peers {
		if peer == c.peer || c.beat() != nil {
			continue
		}
		s, err := c.o.status(ctx, peer)
		if err == nil && !s.Joining && s.Oldest <= c.at && s.CommitLSN > max(c.at, upto) {
			best, upto, ok = peer, s.CommitLSN, true
		}
	}
	return best, upto, ok
}

// fillFrom forwards a donor's WAL up to a position or the end of its timeline: that of a
// term, or, without one, what is committed.
func (c *conn) fillFrom(ctx context.Context, donor int, upto wal.LSN, term *wal.Term) error {
	client, err := replication.Connect(ctx, c.o.Peers[donor].Conninfo, c.o.dial(dialTimeout, map[string]string{
		"replication": "true", "application_name": replication.FillApplication,
	}))
	if err != nil {
		return err
	}
	defer client.Close() //nolint:errcheck // Reading left nothing to save.
	h := c.election.TLIHistory
	tli := h.TLIAt(c.at)
	if end, _, ok := h.SwitchPoint(tli); ok {
		upto = min(upto, end)
	}
	r, err := receiver.Start(ctx, client, c.at, receiver.Options{TLI: tli, Term: term, Timeout: silentFor})
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // As above.
	for c.at < upto {
		_, data, err := r.Next()
		if err != nil {
			return err
		}
		data = data[:min(uint64(len(data)), uint64(upto-c.at))]
		for len(data) > 0 {
			part := data[:min(len(data), pushwal.MaxAppend)]
			if err := c.append(part); err != nil {
				return err
			}
			data = data[len(part):]
		}
	}
	return nil
}
