package pageread

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/walhaven/walhaven/wal"
)

// Position is how far the pages of one timeline reach, and who waits for them to
// reach further. Its methods may be called from any goroutine.
type Position struct {
	last atomic.Uint64

	mu      sync.Mutex
	source  string    // where WAL comes from, for people
	since   time.Time // of the last advance
	failed  error     // why it will not advance any more
	waiters map[*waiter]struct{}
}

type waiter struct {
	lsn  wal.LSN
	done chan struct{}
}

// NewPosition begins at last.
func NewPosition(last wal.LSN) *Position {
	p := &Position{since: time.Now(), waiters: map[*waiter]struct{}{}}
	p.last.Store(uint64(last))
	return p
}

// Last is the end of the last record whose changes can be read.
func (p *Position) Last() wal.LSN { return wal.LSN(p.last.Load()) }

// Since is when Last was last set.
func (p *Position) Since() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.since
}

// Advance moves the position up, or leaves it, and wakes those who waited.
func (p *Position) Advance(lsn wal.LSN) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if lsn <= p.Last() {
		return
	}
	p.last.Store(uint64(lsn))
	p.since = time.Now()
	for w := range p.waiters {
		if w.lsn <= lsn {
			close(w.done)
			delete(p.waiters, w)
		}
	}
}

// SetSource says where WAL comes from, or why none does.
func (p *Position) SetSource(source string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.source = source
}

// Fail says that the position will not advance any more, and why. Waiters are
// told at once; nil takes it back.
func (p *Position) Fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = err
	if err == nil {
		return
	}
	for w := range p.waiters {
		close(w.done)
		delete(p.waiters, w)
	}
}

// Err is what Fail was told.
func (p *Position) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

// Wait returns nil once the position is at lsn or beyond. When timeout has passed
// before, or the position failed, the error is a *[WaitError]; when ctx ended, its
// cause.
func (p *Position) Wait(ctx context.Context, lsn wal.LSN, timeout time.Duration) error {
	if p.Last() >= lsn {
		return nil
	}
	w, err := p.enqueue(lsn)
	if w == nil {
		return err
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-w.done:
		if p.Last() >= lsn {
			return nil
		}
		return p.waitError(lsn)
	case <-timer.C:
	case <-ctx.Done():
	}
	p.mu.Lock()
	delete(p.waiters, w)
	p.mu.Unlock()
	if ctx.Err() != nil {
		return fmt.Errorf("wait for WAL up to %s: %w", lsn, context.Cause(ctx))
	}
	if p.Last() >= lsn {
		return nil
	}
	return p.waitError(lsn)
}

// enqueue returns nil, nil if lsn has been reached meanwhile.
func (p *Position) enqueue(lsn wal.LSN) (*waiter, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.Last() >= lsn:
		return nil, nil
	case p.failed != nil:
		return nil, p.waitErrorLocked(lsn)
	}
	w := &waiter{lsn: lsn, done: make(chan struct{})}
	p.waiters[w] = struct{}{}
	return w, nil
}

func (p *Position) waitError(lsn wal.LSN) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waitErrorLocked(lsn)
}

func (p *Position) waitErrorLocked(lsn wal.LSN) error {
	return &WaitError{Wanted: lsn, Last: p.Last(), Source: p.source, Since: p.since, Err: p.failed}
}

// WaitError says that WAL did not arrive in time: what was wanted, what is here
// since when, and where it should come from.
type WaitError struct {
	Wanted, Last wal.LSN
	Source       string
	Since        time.Time // when Last was reached
	Err          error     // why no more will come, nil when it may
}

func (e *WaitError) Error() string {
	source := e.Source
	if source == "" {
		source = "nobody"
	}
	text := fmt.Sprintf("WAL up to %s has not arrived: the last LSN is %s since %s, from %s",
		e.Wanted, e.Last, e.Since.UTC().Format(time.RFC3339), source)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the cause, if there is one.
func (e *WaitError) Unwrap() error { return e.Err }
