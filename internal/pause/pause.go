// Package pause waits between two attempts. Waiting for an event is not its
// business: that takes a channel.
package pause

import (
	"context"
	"time"
)

// For waits for d. It returns early, with ctx's cause, when ctx ends.
func For(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
