package walproposer

import (
	"context"

	"github.com/walhaven/walhaven/shmqueue"
)

// queue is what a session needs of the queue.
type queue interface {
	shmqueue.Producer
	// Verify returns shmqueue.ErrCorrupt for damaged memory.
	Verify() error
	// Free gives the memory back, after Close, once nobody here uses it.
	Free() error
}

// crew is who pushes: goroutines of this process, or processes.
type crew interface {
	// queue makes the queue of a session.
	queue(o shmqueue.Options) (queue, error)
	// push brings WAL to one safekeeper until ctx is done.
	push(ctx context.Context, s *session, peer int) error
}

// goroutines is the crew of --in-process.
type goroutines struct{}

// localQueue has memory that the garbage collector frees.
type localQueue struct{ *shmqueue.Local }

func (localQueue) Free() error { return nil }

func (goroutines) queue(o shmqueue.Options) (queue, error) {
	q, err := shmqueue.NewLocal(o)
	return localQueue{q}, err
}

func (goroutines) push(ctx context.Context, s *session, peer int) error {
	return newPusher(s.term.pushing(s.queue, s.metrics), peer).run(ctx)
}
