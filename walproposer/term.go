package walproposer

import (
	"fmt"
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
	d          *replication.Proposing
	peers      *peers
	logger     *slog.Logger
	attendance attendance
	// members is how many members there are, 0 before that is known.
	members atomic.Int64
	// told is what each peer has said about commit positions.
	told    []told
	parting parting // of a session that ends
	// unfillable hears that a peer cannot be filled and why, and with "" that it
	// has caught up; nil: nobody does.
	unfillable func(peer int, reason string)
	// ingested hears how far a pageserver has taken WAL in; nil: nobody does.
	ingested func(wal.LSN)
	// suspicion has a token when the memory of the queue may be damaged.
	suspicion chan struct{}
	tokens    *tokens
	spares    *spares
}

func newTerm(d *replication.Proposing, p *peers, m *metrics, l *slog.Logger) *term {
	t := &term{
		d: d, peers: p, logger: l, attendance: newAttendance(), told: make([]told, maxPeers), parting: parting{news: make(chan struct{}, 1)},
		suspicion: make(chan struct{}, 1), tokens: newTokens(p),
	}
	t.spares = newSpares(d, &t.attendance, m)
	return t
}

// pushing is what push workers of this process work with.
func (t *term) pushing(q registrar, m *metrics) *pushing {
	return &pushing{director: t, queue: q, peers: t.peers, metrics: m, logger: t.logger, spares: t.spares}
}

func (t *term) positions() positions {
	return positions{commit: t.d.CommitLSN(), truncate: t.d.TruncateLSN()}
}

func (t *term) donor() (peer int, upto wal.LSN, ok bool) { return t.d.Donor() }

func (t *term) starve(peer int) {
	if t.d.Starve(peer) {
		t.d.Fail(fmt.Errorf("safekeeper %s: %w", t.peers.address(peer), errNoDonor))
	}
}

func (t *term) stuck(peer int, reason string) {
	if t.unfillable != nil {
		t.unfillable(peer, reason)
	}
}

// liveFor is how old a peer's last answer may be for it to count as live.
const liveFor = 3 * time.Second

// needed is how many peers make a quorum.
func (t *term) needed() int {
	n := int(t.members.Load())
	if n == 0 {
		n = len(t.peers.all())
	}
	return n/2 + 1
}

func (t *term) quorum() bool { return t.attendance.count(liveFor) >= t.needed() }

// registrar hands out consumers of the queue.
type registrar interface {
	Register() (shmqueue.Consumer, error)
}
