package walproposer

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/walhaven/walhaven/wal"
)

// told is what one peer has said about commit positions: it answers the frame
// that carries one like any other. An answer that comes behind one by which the
// peer had all of it is to a later frame, which said that it is committed. So is one
// to WAL that went together with the position.
type told struct {
	flush, commit atomic.Uint64

	mu sync.Mutex
	// end is where the last frame ended that brought WAL which the peer had not, if
	// the tap sent it, and with the commit position that it carried.
	end, with wal.LSN
}

// gave takes a frame with WAL up to end that is about to be sent.
func (t *told) gave(end, commit wal.LSN) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.end, t.with = end, commit; uint64(end) <= t.flush.Load() {
		t.end = 0 // An answer on its way does not tell that this one has come.
	}
}

// answered takes the position of an answer and the commit position of that
// moment.
func (t *told) answered(flush, commit wal.LSN) {
	if t.flush.Swap(uint64(flush)) >= uint64(commit) {
		t.commit.Store(uint64(commit))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.end != 0 && flush >= t.end {
		t.commit.Store(max(t.commit.Load(), uint64(t.with)))
	}
}

// allTold says whether each peer that has all committed WAL, or may lack only what was
// kept back for it, was told so.
func (t *term) allTold() bool {
	commit := uint64(t.d.CommitLSN())
	for i := range t.told {
		peer := &t.told[i]
		has := peer.flush.Load() >= commit || t.spares.wasOwed(i)
		if t.attendance.streams(i) && has && peer.commit.Load() < commit {
			return false
		}
	}
	return true
}

// parting wakes who waits for the last answers.
type parting struct {
	begun atomic.Bool
	news  chan struct{}
}

// look has the wait look again: a peer has answered, or has gone.
func (p *parting) look() {
	if !p.begun.Load() {
		return
	}
	select {
	case p.news <- struct{}{}:
	default:
	}
}

// farewellFor is how long the end of a session may wait for answers.
const farewellFor = time.Second

// farewell tells the safekeepers of the last commit before the connections end:
// no WAL will follow that could. Else they would find out only by a headless run,
// and until then pageservers and standbys would lack the end, which is where a
// server has written that it was shut down in order.
func (s *session) farewell(ctx context.Context) {
	s.term.parting.begun.Store(true)
	s.term.spares.end()
	s.term.d.Announce()
	deadline := time.NewTimer(farewellFor)
	defer deadline.Stop()
	for !s.term.allTold() {
		select {
		case <-s.term.parting.news:
		case <-deadline.C:
			return
		case <-ctx.Done():
			return
		}
	}
}
