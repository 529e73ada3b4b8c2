package walproposer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/shmqueue"
	"github.com/walhaven/walhaven/wal"
)

// SyncOptions say which timeline's end to settle.
type SyncOptions struct {
	Safekeepers []string // connection strings or host:port
	Tenant      wal.TenantID
	Timeline    wal.TimelineID
	Logger      *slog.Logger // nil: nothing is logged
}

// errSettled ends the workers of a sync that is done.
var errSettled = errors.New("settled")

// Sync wins a term over a majority without a server, brings the majority to the
// best voter's position, commits it there, and returns it. It deposes a writer:
// ask it only when there is none.
func Sync(ctx context.Context, o SyncOptions) (wal.LSN, error) {
	logger := o.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	p, err := newPeers(o.Safekeepers, "", "", o.Tenant, o.Timeline.String())
	if err != nil {
		return 0, err
	}
	for {
		end, err := syncOnce(ctx, p, o, logger)
		var e *consensus.Error
		if err == nil || ctx.Err() != nil || !errors.As(err, &e) || !(errors.Is(e, consensus.ErrHigherTerm) || errors.Is(e, consensus.ErrRival)) {
			return end, err
		}
		logger.Info("another proposer was quicker; looking again", "err", err)
		if err := pause(ctx, lookEvery); err != nil {
			return 0, err
		}
	}
}

func syncOnce(ctx context.Context, p *peers, o SyncOptions, logger *slog.Logger) (wal.LSN, error) {
	c, err := headlessConfig(ctx, p, o)
	if err != nil {
		return 0, err
	}
	m := newMetrics(nil)
	d := replication.NewProposing(replication.ProposingOptions{Config: c, Metrics: m.proposing})
	// Nothing is ever written to this queue: it lets the workers feed each
	// safekeeper up to the start of the term, where the queue begins.
	q := endOfWAL{d}
	t := newTerm(d, p, logger).pushing(q, m)
	g, gctx := errgroup.WithContext(ctx)
	for peer := range p.conninfos {
		g.Go(func() error { return newPusher(t, peer).run(gctx) })
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
	return d.CommitLSN(), nil
}

// headlessConfig takes what a proposer has to know from the safekeepers.
func headlessConfig(ctx context.Context, p *peers, o SyncOptions) (consensus.ProposerConfig, error) {
	c := consensus.ProposerConfig{
		ID: wal.TTID{Tenant: o.Tenant, Timeline: o.Timeline}, Peers: len(p.conninfos), Headless: true,
		Instance: pushwal.Headless,
	}
	all := p.statuses(ctx)
	var failures []error
	for _, s := range all {
		if s.err != nil {
			failures = append(failures, s.err)
			continue
		}
		c.PGVersion, c.SegmentSize, c.SystemID = s.PGVersion, s.SegmentSize, s.SystemID
	}
	survey, err := consensus.Evaluate(c, looksOf(all))
	if err != nil {
		return c, err
	}
	if !survey.Quorum {
		return c, errors.Join(append([]error{errNoQuorum}, failures...)...)
	}
	c.MinTerm, c.Members, c.TLIHistory = survey.MaxTerm, survey.Config, survey.Proof.TLIHistory
	return c, nil
}

// endOfWAL is the queue of a proposer that has no WAL of its own.
type endOfWAL struct{ d *replication.Proposing }

// Register is called after the election only.
func (q endOfWAL) Register() (shmqueue.Consumer, error) {
	local, err := shmqueue.NewLocal(shmqueue.Options{Size: shmqueue.MinSize, Start: q.d.Election().Start})
	if err != nil {
		return nil, err
	}
	return local.Register()
}
