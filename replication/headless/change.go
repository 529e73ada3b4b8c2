package headless

import (
	"context"
	"fmt"
	"time"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
)

// changeEvery is the pause of Change between its questions how far it is.
const changeEvery = 300 * time.Millisecond

// Change campaigns like Run and has the members take want.Members over from those of
// generation want.Generation, while nobody writes. Peers must have the new ones as
// well. It returns once a majority of the new members knows, and may be repeated
// after any end: with the same members it goes on where it was.
func Change(ctx context.Context, o Options, v View, want pushwal.Configuration) error {
	return change(ctx, o, v, func(d *replication.Proposing) bool {
		d.Reconfigure(want)
		now := d.Configuration()
		return now.Generation > want.Generation+1 && !now.Joint()
	})
}

// GoBack campaigns like Change and has the joint configuration of v left for its old
// members. It returns once it has been left, for whichever of its sets: what an
// earlier proposer proposed comes first.
func GoBack(ctx context.Context, o Options, v View) error {
	o.back = v.Config.Generation
	return change(ctx, o, v, func(d *replication.Proposing) bool { return d.Configuration().Generation > o.back })
}

// change campaigns until it is done, and a majority knows.
func change(ctx context.Context, o Options, v View, done func(*replication.Proposing) bool) error {
	c := begin(ctx, o, v)
	defer c.end()
	tick := time.NewTicker(changeEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-c.done:
			return fmt.Errorf("change the members: %w", c.err)
		}
		if !done(c.d) {
			continue
		}
		if v, err := Look(ctx, o); err == nil && v.Config.Generation >= c.d.Configuration().Generation {
			return nil
		}
	}
}
