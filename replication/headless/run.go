package headless

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

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
	for {
		v, err := Look(ctx, o)
		var end wal.LSN
		if err == nil {
			end, err = Run(ctx, o, v)
		}
		if err == nil || ctx.Err() != nil || !Passing(err) {
			return end, err
		}
		o.logger().Info("another proposer was quicker, or a safekeeper went; looking again", "err", err)
		if err := pause(ctx, lookEvery); err != nil {
			return 0, err
		}
	}
}

// Passing says that another look may find a way: another proposer was quicker, or
// the only holder of the best position went.
func Passing(err error) bool {
	return errors.Is(err, consensus.ErrHigherTerm) || errors.Is(err, consensus.ErrRival) || errors.Is(err, errNoDonor)
}

// Run campaigns once, for the term behind those of v, and returns the position
// that a majority has committed and persisted.
func Run(ctx context.Context, o Options, v View) (wal.LSN, error) {
	d := replication.NewProposing(replication.ProposingOptions{Config: v.config(o.ID)})
	g, gctx := errgroup.WithContext(ctx)
	for peer := range o.Peers {
		w := &worker{o: o, d: d, peer: peer}
		g.Go(func() error { return w.run(gctx) })
	}
	g.Go(func() error { return d.Run(gctx) })
	g.Go(func() error {
		select {
		case <-d.Settled():
			return errSettled
		case <-gctx.Done():
			return context.Cause(gctx)
		}
	})
	if err := g.Wait(); !errors.Is(err, errSettled) {
		return 0, fmt.Errorf("settle the end of WAL: %w", err)
	}
	o.logger().Info("settled the end of WAL", "lsn", d.CommitLSN(), "term", uint64(d.Term()))
	return d.CommitLSN(), nil
}

func (o Options) logger() *slog.Logger {
	if o.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Logger
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
