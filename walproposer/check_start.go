package walproposer

import (
	"context"
	"time"

	"github.com/walhaven/walhaven/internal/pause"
)

// canFollow refuses a directory that lacks WAL which nobody keeps any more.
func (c *check) canFollow(v view) error {
	need := c.dir.SegmentSize.SegmentStart(c.dir.End) // where a standby begins to ask
	donor := v.all[v.Proof.Donor]
	if first := donor.SegmentSize.SegmentStart(donor.Oldest); need < first {
		return refuse("this directory is behind and needs WAL from %s on, which safekeeper %d keeps from %s on only", need, donor.NodeID, first).
			hint("Restore a newer base backup.")
	}
	return nil
}

// silence waits until every other walproposer was silent for long enough, and
// returns what the quorum has then.
func (c *check) silence(ctx context.Context, v view) (view, error) {
	deadline := time.Now().Add(2*c.o.TakeoverAfter + time.Second)
	for !c.o.Takeover {
		age, node := time.Duration(-1), uint64(0)
		for _, a := range v.all {
			if a.Err == nil && a.WriterAge >= 0 && (age < 0 || a.WriterAge < age) {
				age, node = a.WriterAge, uint64(a.NodeID)
			}
		}
		if age < 0 || age >= c.o.TakeoverAfter {
			return v, nil
		}
		if time.Now().After(deadline) {
			return v, refuse("another primary writes: safekeeper %d heard its walproposer %s ago, with WAL up to %s",
				node, age.Round(time.Millisecond), v.Proof.Upto).
				detail("This directory is a copy of the other's, or the other way round.").hint(hintRival)
		}
		if err := pause.For(ctx, max(lookEvery, min(c.o.TakeoverAfter-age, time.Second))); err != nil {
			return v, err
		}
		var err error
		if v, err = c.look(ctx); err != nil {
			return v, err
		}
	}
	return v, nil
}
