package headless

import (
	"context"
	"fmt"
	"time"

	"github.com/walhaven/walhaven/protocol/pushwal"
)

// changeEvery is the pause of Change between its questions how far it is.
const changeEvery = 300 * time.Millisecond

// Change campaigns like Run and has the members take want.Members over from those of
// generation want.Generation, while nobody writes. Peers must have the new ones as
// well. It returns once a majority of the new members knows, and may be repeated
// after any end: with the same members it goes on where it was.
func Change(ctx context.Context, o Options, v View, want pushwal.Configuration) error {
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
		c.d.Reconfigure(want)
		if now := c.d.Configuration(); now.Generation <= want.Generation+1 || now.Joint() {
			continue
		} else if v, err := Look(ctx, o); err == nil && v.Config.Generation >= now.Generation {
			return nil
		}
	}
}
