package walproposer

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/walstream"
	"github.com/walhaven/walhaven/wal"
)

// answerEvery limits answers to requested keepalives while nothing changed.
const answerEvery = 10 * time.Millisecond

// reporter tells PostgreSQL what the quorum has: write and flush are the commit
// position, and nothing else ever is. So is apply, unless a pageserver's is asked
// for, which never passes it. The goroutine that learns of a
// commit writes the report itself; if another is just writing, that one goes on
// with the newer position, so nobody waits for anybody.
type reporter struct {
	metrics *metrics
	commit  atomic.Uint64
	// follow says that apply is what a pageserver has taken in, which is applied.
	follow  bool
	applied atomic.Uint64
	wanted  atomic.Uint64 // reports asked for
	mu      sync.Mutex    // one writer
	stream  atomic.Pointer[protocol.CopyStream]
	buf     [walstream.StatusUpdateSize]byte

	answered time.Time // of the receiving goroutine
	position wal.LSN   // that was answered
}

func newReporter(m *metrics) *reporter { return &reporter{metrics: m} }

// attach sets the connection; nil ends reporting.
func (r *reporter) attach(s *protocol.CopyStream) { r.stream.Store(s) }

// last is the position reported, 0 before there is one.
func (r *reporter) last() wal.LSN { return wal.LSN(r.commit.Load()) }

// report says that the quorum has everything below l.
func (r *reporter) report(l wal.LSN) {
	for {
		old := r.commit.Load()
		if uint64(l) <= old {
			return
		}
		if r.commit.CompareAndSwap(old, uint64(l)) {
			r.again()
			return
		}
	}
}

// ingested says that a pageserver has taken in everything below l.
func (r *reporter) ingested(l wal.LSN) {
	for {
		old := r.applied.Load()
		if !r.follow || uint64(l) <= old {
			return
		}
		if r.applied.CompareAndSwap(old, uint64(l)) {
			r.again()
			return
		}
	}
}

// apply is the position to report as applied when at is committed.
func (r *reporter) apply(at wal.LSN) wal.LSN {
	if !r.follow {
		return at
	}
	return min(at, wal.LSN(r.applied.Load()))
}

// requested answers a keepalive, unless the same was answered a moment ago.
func (r *reporter) requested() {
	now := time.Now()
	if p := r.last(); p != r.position || now.Sub(r.answered) >= answerEvery {
		r.answered, r.position = now, p
		r.again()
	}
}

// again sends a report. An error is not returned: it ends the receiving half as
// well.
func (r *reporter) again() {
	r.wanted.Add(1)
	for r.mu.TryLock() {
		seen := r.wanted.Load()
		r.send()
		r.mu.Unlock()
		if r.wanted.Load() == seen {
			return
		}
	}
}

func (r *reporter) send() {
	stream := r.stream.Load()
	if stream == nil {
		return
	}
	at := r.last()
	invariant.Point("walproposer/report/before")
	b := walstream.AppendStatusUpdate(r.buf[:0], &walstream.StatusUpdate{
		Write: at, Flush: at, Apply: r.apply(at), Time: wal.TimestampOf(time.Now()),
	})
	if stream.Send(b) == nil && stream.Flush() == nil {
		invariant.Point("walproposer/report/after")
		r.metrics.reports.Inc()
	}
}
