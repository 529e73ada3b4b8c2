package walproposer

import (
	"sync/atomic"
	"time"

	"github.com/walhaven/walhaven/shmqueue"
)

// attendance is which peers stream. Times are of the queue's clock; 0 = never.
type attendance struct {
	heard []atomic.Int64 // by peer: when it last answered, 0 while it does not stream
	moved []atomic.Int64 // by peer: when it began or ceased to stream
}

func newAttendance() attendance {
	return attendance{heard: make([]atomic.Int64, maxPeers), moved: make([]atomic.Int64, maxPeers)}
}

// comes says that a peer begins to stream.
func (a *attendance) comes(peer int) {
	now := shmqueue.Now()
	a.moved[peer].Store(now)
	a.heard[peer].Store(now)
}

func (a *attendance) answers(peer int) { a.heard[peer].Store(shmqueue.Now()) }

// leaves says that a peer's connection is gone.
func (a *attendance) leaves(peer int) {
	if a.heard[peer].Swap(0) != 0 {
		a.moved[peer].Store(shmqueue.Now())
	}
}

func (a *attendance) streams(peer int) bool { return a.heard[peer].Load() != 0 }

// isLive says whether a peer streams and has answered lately.
func (a *attendance) isLive(peer int) bool { return a.within(peer, liveFor) }

func (a *attendance) within(peer int, age time.Duration) bool {
	h := a.heard[peer].Load()
	return h != 0 && shmqueue.Now()-h < int64(age)
}

// count counts the peers that stream and have answered within age.
func (a *attendance) count(age time.Duration) (n int) {
	for peer := range a.heard {
		if a.within(peer, age) {
			n++
		}
	}
	return n
}

// since is when a peer last came, left or fell silent; zero before any did.
func (a *attendance) since() time.Time {
	var last int64
	for peer := range a.heard {
		last = max(last, a.moved[peer].Load())
		if h := a.heard[peer].Load(); h != 0 && !a.isLive(peer) {
			last = max(last, h)
		}
	}
	if last == 0 {
		return time.Time{}
	}
	return time.Now().Add(-time.Duration(shmqueue.Now() - last))
}
