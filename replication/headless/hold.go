package headless

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/walhaven/walhaven/wal"
)

// Holding is a term that was won without a server and is kept: its proposer goes
// on saying that it is there, as a server's does. A server's proposer that was
// deposed by it takes it for another writer, waits, and ends in the end; so
// nothing is committed behind End until somebody who means to takes over. The
// owner closes it.
type Holding struct {
	c    *campaign
	from wal.LSN
}

// Hold settles the end of WAL as Sync does, and keeps the term. Unlike Sync it
// counts as a writer. It ends with ctx, too.
func Hold(ctx context.Context, o Options) (*Holding, error) {
	if _, err := rand.Read(o.instance[:]); err != nil {
		return nil, fmt.Errorf("make instance ID: %w", err)
	}
	var h *Holding
	err := o.insist(ctx, func(v View) error {
		c := begin(ctx, o, v)
		if err := c.settle(); err != nil {
			c.end()
			return err
		}
		h = &Holding{c: c, from: c.d.CommitLSN()}
		return nil
	})
	return h, err
}

// End is where WAL ends: a majority has committed and persisted it.
func (h *Holding) End() wal.LSN { return h.from }

// Term is the term that is held.
func (h *Holding) Term() wal.Term { return h.c.d.Term() }

// Done is closed when the term is held no more: another proposer has taken over,
// or the context of Hold has ended; never for nil.
func (h *Holding) Done() <-chan struct{} {
	if h == nil {
		return nil
	}
	return h.c.done
}

// Err says why, once Done is closed.
func (h *Holding) Err() error {
	select {
	case <-h.c.done:
		return h.c.err
	default:
		return nil
	}
}

// Close lets go of the term and waits for the connections to end; nil-safe. The
// members still remember for a while that somebody wrote.
func (h *Holding) Close() {
	if h != nil {
		h.c.end()
	}
}
