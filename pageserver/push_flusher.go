package pageserver

import (
	"sync"
	"time"
)

const (
	// syncEvery is how many bytes are made durable at once while frames keep coming;
	// twice as many wait at most.
	syncEvery = 4 << 20
	// linger is how long frames that others will follow may wait for them.
	linger = 5 * time.Millisecond
	// catchUp is in how short a time an eighth of a segment comes when there is much to
	// catch up with: 8 MiB a second of segments of 16 MiB.
	catchUp = 250 * time.Millisecond
)

// flusher makes what a session has taken durable and reports it, while the session
// takes more.
type flusher struct {
	sync, report func() error
	failed       func(error) // is told the error that ends the flusher

	taken chan struct{} // rung for each frame
	now   chan struct{} // rung when it should not linger
	quit  chan struct{}
	done  chan struct{}

	mu       sync.Mutex
	room     *sync.Cond
	unsynced int // bytes
	over     bool
}

func newFlusher(flush, report func() error, failed func(error)) *flusher {
	f := &flusher{
		sync: flush, report: report, failed: failed,
		taken: make(chan struct{}, 1), now: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
	}
	f.room = sync.NewCond(&f.mu)
	go f.run()
	return f
}

func ring(bell chan struct{}) {
	select {
	case bell <- struct{}{}:
	default: // It rings.
	}
}

// take counts bytes that were stored, 0 for what is only to be answered, and waits
// while too many are not durable. more says that others will follow.
func (f *flusher) take(bytes int, more bool) {
	f.mu.Lock()
	f.unsynced += bytes
	much := f.unsynced >= syncEvery
	f.mu.Unlock()
	ring(f.taken)
	if much || !more {
		ring(f.now)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.unsynced >= 2*syncEvery && !f.over {
		f.room.Wait()
	}
}

// stop ends the flusher and waits for it. What it returns is not durable yet.
func (f *flusher) stop() (unsynced int) {
	close(f.quit)
	<-f.done
	return f.unsynced
}

func (f *flusher) run() {
	defer close(f.done)
	defer f.end()
	timer := time.NewTimer(linger)
	defer timer.Stop()
	for {
		select {
		case <-f.taken:
		case <-f.quit:
			return
		}
		timer.Reset(linger)
		select {
		case <-f.now:
		case <-timer.C:
		case <-f.quit:
			return
		}
		if err := f.round(); err != nil {
			f.failed(err)
			return
		}
	}
}

// end lets nobody wait for room any more.
func (f *flusher) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
	f.room.Broadcast()
}

// round makes durable what has been taken, and reports.
func (f *flusher) round() error {
	f.mu.Lock()
	n := f.unsynced
	f.mu.Unlock()
	if n > 0 {
		if err := f.sync(); err != nil {
			return err
		}
		f.mu.Lock()
		f.unsynced -= n
		f.room.Broadcast()
		f.mu.Unlock()
	}
	return f.report()
}
