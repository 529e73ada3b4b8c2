package safekeeper

import (
	"context"
	"sync"
)

// taskGroup runs background work between open and close; work that comes
// before or after is not run.
type taskGroup struct {
	mu    sync.Mutex
	wg    sync.WaitGroup
	spawn func(run func(ctx context.Context)) // nil while closed
	end   context.CancelFunc
}

// open allows work, which runs under a context that ends with ctx or close.
func (g *taskGroup) open(ctx context.Context) {
	running, end := context.WithCancel(ctx)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.end = end
	g.spawn = func(run func(ctx context.Context)) { g.wg.Go(func() { run(running) }) }
}

// run starts work unless the group is closed.
func (g *taskGroup) run(work ...func(ctx context.Context)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.spawn == nil {
		return
	}
	for _, w := range work {
		g.spawn(w)
	}
}

// close ends the work and waits for it.
func (g *taskGroup) close() {
	g.mu.Lock()
	end := g.end
	g.spawn = nil
	g.mu.Unlock()
	if end != nil {
		end()
	}
	g.wg.Wait()
}
