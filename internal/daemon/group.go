package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Group is a set of actors that run and end together. The zero value is empty.
type Group struct {
	actors []actor
}

type actor struct {
	name string
	run  func(ctx context.Context) error
}

// Add adds an actor. Its run must return soon after ctx ends, with all
// goroutines that it started gone. Call Add before Run.
func (g *Group) Add(name string, run func(ctx context.Context) error) {
	g.actors = append(g.actors, actor{name: name, run: run})
}

// errEnded is the cause of the context when an actor returned without error.
var errEnded = errors.New("ended")

// Run runs the actors until all have returned. The first that returns, even
// without an error, ends the context of the others. The result joins the errors
// of all, each with its actor's name; that an actor stopped because its context
// ended is not an error.
func (g *Group) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	errs := make([]error, len(g.actors))
	var wg sync.WaitGroup
	for i, a := range g.actors {
		wg.Go(func() {
			err := a.run(ctx)
			if err != nil && (ctx.Err() == nil || !isCancelled(err)) {
				errs[i] = fmt.Errorf("%s: %w", a.name, err)
			}
			cancel(fmt.Errorf("%s: %w", a.name, errEnded))
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// isCancelled reports whether err says only that a context was cancelled.
func isCancelled(err error) bool {
	for err != nil {
		if err == context.Canceled { //nolint:errorlint // The chain is walked here: a join must not match.
			return true
		}
		err = errors.Unwrap(err)
	}
	return false
}
