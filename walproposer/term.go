package walproposer

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/shmqueue"
	"github.com/walhaven/walhaven/wal"
)

// term is one proposer with its peers: the director of push workers in the same
// process.
type term struct {
	d      *replication.Proposing
	peers  *peers
	logger *slog.Logger
	// heard is when each peer last answered while streaming, in nanoseconds of
	// the queue's clock; 0 while it is not streaming.
	heard []atomic.Int64
	// members is how many members there are, 0 before that is known.
	members atomic.Int64
	// told is what each peer has said about commit positions.
	told []told
	// unfillable hears that a peer cannot be filled and why, and with "" that it
	// has caught up; nil: nobody does.
	unfillable func(peer int, reason string)
	// ingested hears how far a pageserver has taken WAL in; nil: nobody does.
	ingested func(wal.LSN)
	// suspicion has a token when the memory of the queue may be damaged.
	suspicion chan struct{}
	tokens    *tokens
}

func newTerm(d *replication.Proposing, p *peers, l *slog.Logger) *term {
	return &term{
		d: d, peers: p, logger: l, heard: make([]atomic.Int64, maxPeers), told: make([]told, maxPeers),
		suspicion: make(chan struct{}, 1), tokens: newTokens(p),
	}
}

// pushing is what push workers of this process work with.
func (t *term) pushing(q registrar, m *metrics) *pushing {
	return &pushing{director: t, queue: q, peers: t.peers, metrics: m, logger: t.logger}
}

func (t *term) positions() positions {
	return positions{commit: t.d.CommitLSN(), truncate: t.d.TruncateLSN()}
}

func (t *term) donor() (peer int, upto wal.LSN, ok bool) { return t.d.Donor() }

func (t *term) fail(err error) { t.d.Fail(err) }

func (t *term) stuck(peer int, reason string) {
	if t.unfillable != nil {
		t.unfillable(peer, reason)
	}
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

func (t *term) quorum() bool {
	n := int(t.members.Load())
	if n == 0 {
		n = len(t.peers.all())
	}
	return t.live() > n/2
}

// registrar hands out consumers of the queue.
type registrar interface {
	Register() (shmqueue.Consumer, error)
}
