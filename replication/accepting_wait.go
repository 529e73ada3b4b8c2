package replication

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walstore"
)

// watermark is a position that many may wait for. Raising it costs an atomic
// store unless somebody waits; then one close of a channel wakes all of them,
// and none has to take a lock to see the new position.
type watermark struct {
	position atomic.Uint64

	mu      sync.Mutex
	waiting chan struct{} // nil when nobody waits
}

func (w *watermark) load() wal.LSN { return wal.LSN(w.position.Load()) }

// raise never lowers the position. Only one goroutine at a time may call it.
func (w *watermark) raise(to wal.LSN) {
	if to > w.load() {
		w.position.Store(uint64(to))
		w.wake()
	}
}

// set moves the position either way, without waking anybody.
func (w *watermark) set(to wal.LSN) (moved bool) {
	return w.position.Swap(uint64(to)) != uint64(to)
}

func (w *watermark) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting != nil {
		close(w.waiting)
		w.waiting = nil
	}
}

// changed returns a channel that is closed at the next change. A caller looks at
// the position after it has the channel, and before it waits.
func (w *watermark) changed() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting == nil {
		w.waiting = make(chan struct{})
	}
	return w.waiting
}

// WaitCommit waits until CommitLSN is above after and returns it.
func (a *Accepting) WaitCommit(ctx context.Context, after wal.LSN) (wal.LSN, error) {
	for {
		if at := a.commit.load(); at > after {
			return at, nil
		}
		changed := a.commit.changed()
		if at := a.commit.load(); at > after {
			return at, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// WaitTerm waits until the flush position is above after and returns it; it
// fails when the acceptor's term is or becomes another one.
func (a *Accepting) WaitTerm(ctx context.Context, term wal.Term, after wal.LSN) (wal.LSN, error) {
	for {
		changed := a.flush.changed()
		if err := a.checkTerm(term); err != nil {
			return 0, err
		}
		if at := a.flush.load(); at > after {
			return at, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// ReadAt reads WAL as the log does, for committed senders, which respect
// CommitLSN themselves.
func (a *Accepting) ReadAt(p []byte, at wal.LSN) (int, error) {
	if a.hot.read(p, at, a.flush.load()) {
		a.metrics.fromHot.Inc()
		return len(p), nil
	}
	a.metrics.fromFile.Inc()
	return a.log.ReadAt(p, at)
}

// Lend lends committed WAL's file as the log does. What is not committed may be cut
// while it is on its way to somebody, and is only read.
func (a *Accepting) Lend(at wal.LSN, n int) (walstore.Lent, bool) {
	if at+wal.LSN(n) > a.commit.load() {
		return walstore.Lent{}, false
	}
	lent, ok := a.log.Lend(at, n)
	if ok {
		a.metrics.fromFile.Inc()
	}
	return lent, ok
}

// ReadTerm reads flushed WAL while the acceptor's term is exactly term, and
// returns the flush position as well. Bytes that a truncation touched while they
// were read are not returned: it is as if the lock had been held throughout.
func (a *Accepting) ReadTerm(term wal.Term, p []byte, at wal.LSN) (n int, flush wal.LSN, err error) {
	cuts, flush, err := a.readable(term)
	if err != nil || flush <= at {
		return 0, flush, err
	}
	if room := uint64(flush - at); uint64(len(p)) > room {
		p = p[:room]
	}
	if n, err = a.ReadAt(p, at); err != nil {
		return 0, flush, err
	}
	invariant.Point("accepting/read-term/after")
	after, _, err := a.readable(term)
	if err != nil {
		return 0, flush, err
	}
	if after != cuts {
		return 0, flush, protocol.Errorf(protocol.CodeNotInState, "WAL at %s was cut while it was read", at)
	}
	return n, flush, nil
}

// readable says up to where WAL of a term may be read, and the state of the log
// that this is true of.
func (a *Accepting) readable(term wal.Term) (cuts uint64, flush wal.LSN, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.cuts, a.flush.load(), a.checkTerm(term)
}

func (a *Accepting) checkTerm(term wal.Term) error {
	if current := a.Term(); current != term {
		return protocol.Errorf(protocol.CodeNotInState, "failed to acquire term %d, current term %d", term, current)
	}
	return nil
}
