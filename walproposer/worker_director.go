package walproposer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/walhaven/walhaven/wal"
)

// remoteDirector is the tap's proposer as a push worker in another process sees
// it. It carries messages; what they say comes from, and goes to, the tap.
type remoteDirector struct {
	pair *pairConn

	commit, truncate atomic.Uint64

	mu    sync.Mutex
	state pairState
	conn  uint32
	link  *remoteLink // the newest
	asked asked       // for a login
}

func newRemoteDirector(p *pairConn) *remoteDirector {
	return &remoteDirector{pair: p, state: pairState{donor: -1}}
}

// listen takes what the tap says until its end, errTapGone.
func (r *remoteDirector) listen() error {
	for {
		m, _, err := r.pair.receive(0)
		if errors.Is(err, io.EOF) {
			return errTapGone
		}
		if err != nil {
			return fmt.Errorf("listen to the tap: %w", err)
		}
		if err := r.take(m); err != nil {
			return err
		}
	}
}

func (r *remoteDirector) take(m *pairMessage) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.link
	current := l != nil && l.conn == m.conn
	switch m.kind {
	case pairPositions:
		r.state = m.state
		r.commit.Store(uint64(m.state.commit))
		r.truncate.Store(uint64(m.state.truncate))
	case pairSend:
		if current {
			l.work.messages = append(l.work.messages, append([]byte(nil), m.body...))
		}
	case pairStart:
		if current {
			start := m.start
			l.work.start = &start
		}
	case pairLogin:
		return r.answered(m)
	case pairDrop:
		if current && l.dropped == nil {
			l.dropped = fmt.Errorf("the tap ended the connection: %s", m.body)
		}
	default:
		return fmt.Errorf("the tap sends %q", m.kind)
	}
	if l != nil {
		l.nudge()
	}
	return nil
}

func (r *remoteDirector) connect(int) (link, error) {
	r.mu.Lock()
	r.conn++
	l := &remoteLink{r: r, conn: r.conn, woken: make(chan struct{}, 1)}
	r.link = l
	r.mu.Unlock()
	return l, r.pair.send(pairMessage{kind: pairOpen, conn: l.conn})
}

// positions are read with each frame, hence without the lock. That they were
// taken apart does no harm: each is true on its own.
func (r *remoteDirector) positions() positions {
	return positions{commit: wal.LSN(r.commit.Load()), truncate: wal.LSN(r.truncate.Load())}
}

func (r *remoteDirector) donor() (peer int, upto wal.LSN, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return int(r.state.donor), r.state.donorUpto, r.state.donor >= 0
}

func (r *remoteDirector) quorum() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.quorum
}

// found asks the tap to make the timeline there; another connection shows
// whether it did.
func (r *remoteDirector) found(context.Context, int) error {
	return r.pair.send(pairMessage{kind: pairFound})
}

// stuck and fail: should the tap not take them, it is gone and so is this
// worker.
func (r *remoteDirector) stuck(_ int, reason string) {
	_ = r.pair.send(pairMessage{kind: pairStuck, body: []byte(reason)})
}

func (r *remoteDirector) fail(err error) {
	_ = r.pair.send(pairMessage{kind: pairFail, body: []byte(err.Error())})
}

// remoteLink is one connection to the safekeeper, known to the tap by a number.
type remoteLink struct {
	r     *remoteDirector
	conn  uint32
	woken chan struct{}

	// Under r.mu.
	work    pushWork
	dropped error
}

func (l *remoteLink) wake() <-chan struct{} { return l.woken }

func (l *remoteLink) nudge() {
	select {
	case l.woken <- struct{}{}:
	default:
	}
}

func (l *remoteLink) take() (w pushWork, err error) {
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	if l.dropped != nil {
		return w, l.dropped
	}
	w, l.work = l.work, pushWork{}
	return w, nil
}

func (l *remoteLink) received(payload []byte) error {
	return l.r.pair.send(pairMessage{kind: pairReceived, conn: l.conn, body: payload})
}

func (l *remoteLink) close() {
	l.r.mu.Lock()
	if l.r.link == l {
		l.r.link = nil
	}
	l.r.mu.Unlock()
	_ = l.r.pair.send(pairMessage{kind: pairClosed, conn: l.conn}) // else the tap is gone
}
