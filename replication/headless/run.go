package headless

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/walhaven/walhaven/internal/pause"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
)

// lookEvery is the pause of Sync before it looks again.
const lookEvery = 300 * time.Millisecond

// errSettled ends the connections of a run that is done.
var errSettled = errors.New("settled")

// Sync looks and runs until the end of WAL is settled, and returns it. A writer
// that is alive is deposed: ask it only when there is none. It gives up when too
// few safekeepers answer, and with ctx.
func Sync(ctx context.Context, o Options) (wal.LSN, error) {
	var end wal.LSN
	err := o.insist(ctx, func(v View) (err error) {
		end, err = Run(ctx, o, v)
		return err
	})
	return end, err
}

// insist looks and tries until it works, or another look would not help. From the
// second time on a safekeeper that hangs is waited for: it may be the one whose term
// or WAL was missing in the first look, and would be again.
func (o Options) insist(ctx context.Context, try func(View) error) error {
	for look := Look; ; look = patientLook {
		v, err := look(ctx, o)
		if err == nil {
			err = try(v)
		}
		if err == nil || ctx.Err() != nil || !Passing(err) {
			return err
		}
		o.logger().Info("another proposer was quicker, or a safekeeper went; looking again", "err", err)
		if err := pause.For(ctx, lookEvery); err != nil {
			return err
		}
	}
}

func patientLook(ctx context.Context, o Options) (View, error) { return o.look(ctx, nil) }

// Passing says that another look may find a way: another proposer was quicker, or
// the only holder of the best position went.
func Passing(err error) bool {
	return errors.Is(err, consensus.ErrHigherTerm) || errors.Is(err, consensus.ErrRival) || errors.Is(err, errNoDonor)
}

// Run campaigns once, for the term behind those of v, and returns the position
// that a majority has committed and persisted.
func Run(ctx context.Context, o Options, v View) (wal.LSN, error) {
	c := begin(ctx, o, v)
	err := c.settle()
	c.end()
	if err != nil {
		return 0, err
	}
	return c.d.CommitLSN(), nil
}

// campaign is a proposer with its connections.
type campaign struct {
	o       Options
	d       *replication.Proposing
	workers []*worker
	cancel  context.CancelCauseFunc
	done    chan struct{} // closed when all of it has ended; err is valid then
	err     error
}

// begin starts a proposer for the term behind those of v. It lives until end is
// called, ctx ends, or another proposer is quicker.
func begin(ctx context.Context, o Options, v View) *campaign {
	ctx, cancel := context.WithCancelCause(ctx)
	c := &campaign{
		o: o, cancel: cancel, done: make(chan struct{}),
		d: replication.NewProposing(replication.ProposingOptions{Config: v.config(o)}),
	}
	g, gctx := errgroup.WithContext(ctx)
	for peer := range o.Peers {
		w := &worker{o: o, d: c.d, peer: peer}
		c.workers = append(c.workers, w)
		g.Go(func() error { return w.run(gctx) })
	}
	g.Go(func() error { return c.d.Run(gctx) })
	go func() {
		defer close(c.done)
		c.err = g.Wait()
	}()
	return c
}

// settle waits until a majority has committed and persisted the term's start.
func (c *campaign) settle() error {
	select {
	case <-c.d.Settled():
	case <-c.done:
		return fmt.Errorf("settle the end of WAL: %w", errors.Join(append([]error{c.err}, c.failures()...)...))
	}
	c.o.logger().Info("settled the end of WAL", "lsn", c.d.CommitLSN(), "term", uint64(c.d.Term()))
	return nil
}

// failures are why connections of a run that has ended broke: a run that got nowhere
// was refused by each of them, not by an answer.
func (c *campaign) failures() (out []error) {
	for _, w := range c.workers {
		if w.last != nil {
			out = append(out, fmt.Errorf("safekeeper %s: %w", c.o.Peers[w.peer].Name, w.last))
		}
	}
	return out
}

// end closes the connections and waits for them.
func (c *campaign) end() {
	c.cancel(errSettled)
	<-c.done
}

func (o Options) logger() *slog.Logger {
	if o.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Logger
}
