package walproposer

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/shmqueue"
	"github.com/walhaven/walhaven/wal"
)

// term is what the push workers of one proposer share.
type term struct {
	d       *replication.Proposing
	queue   registrar
	peers   *peers
	metrics *metrics
	logger  *slog.Logger
	// heard is when each peer last answered while streaming, in nanoseconds of
	// the queue's clock; 0 while it is not streaming.
	heard []atomic.Int64
	// stuck hears that a peer cannot be filled and why, and with "" that it has
	// caught up; nil: nobody does.
	stuck func(peer int, reason string)
}

// report says that a peer cannot be filled, or with "" that it has caught up.
func (t *term) report(peer int, reason string) {
	if t.stuck != nil {
		t.stuck(peer, reason)
	}
}

func newTerm(d *replication.Proposing, q registrar, p *peers, m *metrics, l *slog.Logger) *term {
	return &term{d: d, queue: q, peers: p, metrics: m, logger: l, heard: make([]atomic.Int64, len(p.conninfos))}
}

// liveFor is how old a peer's last answer may be for it to count as live.
const liveFor = 3 * time.Second

// live counts the peers that stream.
func (t *term) live() (n int) {
	for i := range t.heard {
		if h := t.heard[i].Load(); h != 0 && shmqueue.Now()-h < int64(liveFor) {
			n++
		}
	}
	return n
}

// quorum says whether enough peers stream to commit.
func (t *term) quorum() bool { return t.live() > len(t.heard)/2 }

// bound is where an AppendRequest that begins at l must end at the latest: the
// next switch of timelines, or 0.
func (t *term) bound(l wal.LSN) wal.LSN {
	for _, a := range t.d.Election().TLIHistory.Ancestors {
		if l < a.Switch {
			return a.Switch
		}
	}
	return 0
}

// registrar hands out consumers of the queue.
type registrar interface {
	Register() (shmqueue.Consumer, error)
}
