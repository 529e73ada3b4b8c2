package headless

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/walhaven/walhaven/internal/pause"
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
		if err := c.fillFrom(ctx, donor, min(upto, c.election.Start)); err != nil {
			return fmt.Errorf("fetch WAL at %s from safekeeper %s: %w", c.at, c.o.Peers[donor].Name, err)
		}
		began = time.Now()
	}
	return nil
}

// fillFrom forwards a donor's WAL up to a position or the end of its timeline.
func (c *conn) fillFrom(ctx context.Context, donor int, upto wal.LSN) error {
	client, err := replication.Connect(ctx, c.o.Peers[donor].Conninfo, c.o.dial(dialTimeout, map[string]string{"replication": "true"}))
	if err != nil {
		return err
	}
	defer client.Close() //nolint:errcheck // Reading left nothing to save.
	h, term := c.election.TLIHistory, c.election.Term
	tli := h.TLIAt(c.at)
	if end, _, ok := h.SwitchPoint(tli); ok {
		upto = min(upto, end)
	}
	r, err := receiver.Start(ctx, client, c.at, receiver.Options{TLI: tli, Term: &term, Timeout: silentFor})
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
