package walproposer

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"

	"github.com/walhaven/walhaven/internal/pgdata"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
)

// Divergence is where a stopped data directory's WAL and the quorum's part.
type Divergence struct {
	Dir      *pgdata.Directory
	Timeline wal.TTID
	// Compared is where the comparison began: what lies below was confirmed by the
	// quorum to this directory, or is not held by both any more.
	Compared wal.LSN
	// At is the first position that the quorum does not have as the directory does;
	// the directory's end if there is none.
	At wal.LSN
	// Quorum is where the quorum's WAL ends, and QuorumTLI its timeline.
	Quorum    wal.LSN
	QuorumTLI wal.TLI
	// Superseded says that the quorum has other WAL there. Without it nobody has
	// written behind At, and the directory's WAL could still become the quorum's.
	Superseded bool
}

// Diverge finds out what a stopped data directory holds that the quorum does not.
// It touches no term, and tries until ctx ends.
func Diverge(ctx context.Context, o CheckOptions) (*Divergence, error) {
	c, err := newCheck(o)
	if err != nil {
		return nil, err
	}
	if err := c.resolve(ctx); err != nil {
		return nil, err
	}
	v, err := c.look(ctx)
	if err != nil {
		return nil, err
	}
	d := &Divergence{
		Dir: c.dir, Timeline: wal.TTID{Tenant: c.peers.tenant, Timeline: c.timeline},
		Quorum: v.Proof.Upto, QuorumTLI: v.Proof.TLIHistory.Last,
	}
	agree := consensus.AgreeUpto(c.dir.History, v.Proof.TLIHistory)
	d.At = min(c.dir.End, d.Quorum, agree)
	d.Superseded = d.At < c.dir.End && d.At < d.Quorum
	r := c.comparable(v, d.At)
	d.Compared = min(r.Start, d.At)
	return d, c.narrow(ctx, v, r, d)
}

// comparable is the part of WAL up to a position that both sides hold and that was
// not confirmed to the directory.
func (c *check) comparable(v view, upto wal.LSN) wal.Range {
	donor := v.all[v.Proof.Donor]
	return wal.Range{Start: max(c.dir.Confirmed, c.dir.Oldest, donor.Origin(), donor.Oldest), End: upto}
}

// narrow looks for the first byte of a range that differs, and halves the range
// that has it until it is found.
func (c *check) narrow(ctx context.Context, v view, r wal.Range, d *Divergence) error {
	for r.Start < r.End {
		differs, at, err := c.firstDifference(ctx, v, r)
		if err != nil || !differs {
			return err
		}
		d.At, d.Superseded = at.Start, true
		if at.Len() == 1 {
			return nil
		}
		r = wal.Range{Start: at.Start, End: at.Start + wal.LSN(at.Len())/2}
		differs, _, err = c.firstDifference(ctx, v, r)
		if err != nil {
			return err
		}
		if !differs { // it is in the other half
			d.At = r.End
			r = wal.Range{Start: r.End, End: at.End}
		}
	}
	return nil
}

// firstDifference compares digests and returns the first range that differs.
func (c *check) firstDifference(ctx context.Context, v view, r wal.Range) (bool, wal.Range, error) {
	own, err := c.digests(r)
	if err != nil {
		return false, r, err
	}
	theirs, err := c.peers.digests(ctx, v.Proof.Donor, r)
	if err != nil {
		return false, r, err
	}
	if len(theirs) != len(own) {
		return false, r, fmt.Errorf("safekeeper %s: %d digests of %s, want %d", c.peers.address(v.Proof.Donor), len(theirs), r, len(own))
	}
	for i := range own {
		if own[i] != theirs[i] {
			return true, own[i].Range, nil
		}
	}
	return false, r, nil
}

// newCheck fills in defaults and reads the directory.
func newCheck(o CheckOptions) (*check, error) {
	o.Slot, o.Timeline = cmp.Or(o.Slot, DefaultSlot), cmp.Or(o.Timeline, DefaultTimeline)
	if o.TakeoverAfter == 0 {
		o.TakeoverAfter = DefaultTakeoverAfter
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	dir, err := pgdata.Open(o.DataDir, o.Slot)
	return &check{o: o, dir: dir}, err
}
