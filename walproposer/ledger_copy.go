package walproposer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/walhaven/walhaven/replication"
)

// ledgerEvery is the pause between looks at what the safekeepers have of the
// ledger: a member that came or was replaced is given all of it then.
const ledgerEvery = time.Minute

// ledgerTimeout bounds what one safekeeper is asked and told.
const ledgerTimeout = 30 * time.Second

// copyLedger sees to it that the safekeepers have the ledger from the election on,
// until ctx is done: what this machine's disk has is of no use when it is gone.
func (s *session) copyLedger(ctx context.Context) error {
	select {
	case <-s.term.d.Elected():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for warned := false; ; {
		wait := checkEvery
		everywhere, err := s.copyLedgerOnce(ctx)
		if everywhere {
			wait = ledgerEvery
		}
		if err != nil && ctx.Err() == nil && !warned {
			s.logger.Warn("the ledger is not on a quorum of the safekeepers", "err", err)
		}
		warned = err != nil
		next := time.NewTimer(wait)
		select {
		case <-s.ledger.news:
		case <-next.C:
		case <-ctx.Done():
			next.Stop()
			return context.Cause(ctx)
		}
		next.Stop()
	}
}

// copyLedgerOnce gives each safekeeper the intervals that it lacks: those of the own
// ledger, and those that another one has, of a walproposer on another machine. It says
// whether all have all; an error is why there is no quorum that has.
func (s *session) copyLedgerOnce(ctx context.Context) (everywhere bool, err error) {
	own, err := s.ledger.newest()
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	has := make([][]Interval, len(s.peers.all()))
	errs := make([]error, len(has))
	each := func(do func(peer int) error) {
		var all sync.WaitGroup
		for peer := range has {
			all.Go(func() { errs[peer] = errors.Join(errs[peer], do(peer)) })
		}
		all.Wait()
	}
	each(func(peer int) (err error) { has[peer], err = s.peers.intervals(ctx, peer); return err })
	all := replication.MergeIntervals(append(slices.Clone(has), own)...)
	each(func(peer int) error {
		if errs[peer] != nil {
			return nil
		}
		return s.peers.record(ctx, peer, lacking(has[peer], all))
	})
	done := 0
	for peer, err := range errs {
		if err == nil && s.term.d.Configuration().Has(s.term.d.NodeOf(peer)) {
			done++
		}
	}
	if done < s.term.needed() && len(all) > 0 {
		s.metrics.uncopied.Set(float64(len(all)))
		return false, errors.Join(errs...)
	}
	s.metrics.uncopied.Set(0)
	return done == len(errs), nil
}

// lacking are those of all that a safekeeper does not have just so.
func lacking(has, all []Interval) (out []Interval) {
	for _, i := range all {
		if !slices.ContainsFunc(has, func(h Interval) bool { return replication.SameInterval(h, i) }) {
			out = append(out, i)
		}
	}
	return out
}

// intervals asks a safekeeper for its copy of the ledger.
func (p *peers) intervals(ctx context.Context, peer int) (out []Interval, err error) {
	rows, err := p.query(ctx, peer, "SHOW INTERVALS", lookTimeout)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		i, err := replication.ParseInterval(row)
		if err != nil {
			return nil, fmt.Errorf("safekeeper %s: SHOW INTERVALS: %w", p.address(peer), err)
		}
		out = append(out, i)
	}
	return out, nil
}

// record gives a safekeeper intervals, each durable there when it has answered.
func (p *peers) record(ctx context.Context, peer int, list []Interval) error {
	if len(list) == 0 {
		return nil
	}
	c, err := replication.Connect(ctx, p.all()[peer], p.dialOptions(lookTimeout))
	if err != nil {
		return fmt.Errorf("safekeeper %s: %w", p.address(peer), err)
	}
	defer c.Close() //nolint:errcheck // Each statement was answered.
	for _, i := range list {
		if _, err := c.Query(ctx, i.Statement()); err != nil {
			return fmt.Errorf("safekeeper %s: %w", p.address(peer), err)
		}
	}
	return nil
}
