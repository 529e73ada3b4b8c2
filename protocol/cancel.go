package protocol

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"math"
	"sync"
)

// errQueryCanceled is the cause of a context that a CancelRequest ended.
var errQueryCanceled = errors.New("canceling statement due to user request")

// registry knows the live sessions by PID, for cancel requests.
type registry struct {
	mu   sync.Mutex
	next uint32
	live map[uint32]*backend
}

// backend is what a CancelRequest can reach of a session.
type backend struct {
	pid, secret uint32

	mu     sync.Mutex
	cancel context.CancelCauseFunc // of the running Execute, nil between commands
}

// newRegistry starts counting at a random PID: walreceivers name temporary
// slots after it, which must not meet those of a former process.
func newRegistry() *registry {
	return &registry{live: make(map[uint32]*backend), next: random32() & math.MaxInt32}
}

func random32() uint32 {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return binary.BigEndian.Uint32(b[:])
}

// add registers a session under a PID of its own.
func (r *registry) add() *backend {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.next == 0 || r.live[r.next] != nil {
		r.next = (r.next + 1) & math.MaxInt32
	}
	b := &backend{pid: r.next, secret: random32()}
	r.live[b.pid] = b
	r.next = (r.next + 1) & math.MaxInt32
	return b
}

func (r *registry) remove(b *backend) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.live, b.pid)
}

// cancel acts on a CancelRequest; a wrong PID or key changes nothing.
func (r *registry) cancel(pid, secret uint32) bool {
	r.mu.Lock()
	b := r.live[pid]
	r.mu.Unlock()
	if b == nil || subtle.ConstantTimeEq(int32(b.secret), int32(secret)) != 1 {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.cancel != nil {
		b.cancel(errQueryCanceled)
	}
	return true
}

// command derives the context of one Execute.
func (b *backend) command(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	b.mu.Lock()
	b.cancel = cancel
	b.mu.Unlock()
	return ctx, func() {
		b.mu.Lock()
		b.cancel = nil
		b.mu.Unlock()
		cancel(nil)
	}
}
