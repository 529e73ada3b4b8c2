package consensus

import (
	"slices"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// ballot is the position of one voter: final for all terms below the one that
// it was given in.
type ballot struct {
	peer     int
	node     pushwal.NodeID
	data     pushwal.Incarnation
	flush    wal.LSN
	truncate wal.LSN
	history  pushwal.TermHistory // cut at flush
	tli      wal.TimelineHistory
	// proposed is a configuration that this voter has accepted, in proposedTerm.
	proposed     pushwal.Configuration
	proposedTerm wal.Term
}

// less compares positions, last log term first (R2).
func (b *ballot) less(o *ballot) bool {
	if t, u := lastTerm(b.history), lastTerm(o.history); t != u {
		return t < u
	}
	return b.flush < o.flush
}

// choice is what ballots amount to.
type choice struct {
	quorum  bool    // the ballots are those of a quorum
	elected bool    // those that count still are
	donor   *ballot // the best that counts, of a quorum
	counted []bool  // by ballot
	beyond  *Error  // when a ballot does not count: about the furthest one
}

// choose finds the donor: the best position of a quorum of ballots, the first
// one on ties.
//
// own is the PostgreSQL history of the proposer, nil for a headless one. A
// ballot with WAL beyond the point where the histories part, or with another
// timeline of the same number, does not count: some other quorum must lie at or
// below that point, which then shows that nothing beyond it was ever committed.
func choose(e electorate, ballots []ballot, own *wal.TimelineHistory) choice {
	c := choice{counted: make([]bool, len(ballots))}
	var voted, counts []*ballot
	for i := range ballots {
		b := &ballots[i]
		voted = append(voted, b)
		if own != nil {
			if err := beyondSwitch(b, *own); err != nil {
				if c.beyond == nil || err.LSN > c.beyond.LSN {
					c.beyond = err
				}
				continue
			}
		}
		c.counted[i] = true
		counts = append(counts, b)
	}
	c.quorum = e.quorum(func(m pushwal.Member) bool { return slices.ContainsFunc(voted, by(m)) })
	c.elected = e.quorum(func(m pushwal.Member) bool { return slices.ContainsFunc(counts, by(m)) })
	if !c.elected {
		return c
	}
	for i := range ballots {
		b := &ballots[i]
		if c.counted[i] && e.has(b.node) && (c.donor == nil || c.donor.less(b)) {
			c.donor = b
		}
	}
	return c
}

// by says whether a ballot is that of a member.
func by(m pushwal.Member) func(*ballot) bool {
	return func(b *ballot) bool { return b.node == m.ID && means(m, b.data) }
}

func beyondSwitch(b *ballot, own wal.TimelineHistory) *Error {
	if err := checkTimelines(b.tli, own); err != nil {
		return err.node(b.node)
	}
	upto := agreeUpto(b.tli, own)
	if b.flush <= upto {
		return nil
	}
	return errf(ErrTimeline, "timeline %d of this server parts at %s from timeline %d, of which node %d holds WAL up to %s",
		known(own).Last, upto, known(b.tli).Last, b.node, b.flush).node(b.node).at(b.flush)
}
