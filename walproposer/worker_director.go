package walproposer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/walhaven/walhaven/wal"
)

// remoteDirector is the tap's proposer as a push worker in another process sees
// it. It carries messages; what they say comes from, and goes to, the tap.
//
// One goroutine at a time listens to the tap: while a connection to the
// safekeeper stands and waits for something to send, the one that sends, for what
// the tap says is what it waits for; else listen. Handing messages from one
// goroutine to another would cost a commit two switches between threads.
type remoteDirector struct {
	pair      *pairConn
	listening sync.Mutex // held by whoever listens

	commit, truncate atomic.Uint64

	mu    sync.Mutex
	state pairState
	conn  uint32
	link  *remoteLink // the newest
	asked asked       // for a login
	// lent is closed when listen may go on; nil while it does.
	lent chan struct{}
	// broken ends listen.
	broken error
}

func newRemoteDirector(p *pairConn) *remoteDirector {
	return &remoteDirector{pair: p, state: pairState{donor: -1}}
}

// listen takes what the tap says until its end, errTapGone, or that of ctx.
func (r *remoteDirector) listen(ctx context.Context) error {
	for {
		lent, err := r.status()
		if err != nil {
			return err
		}
		if lent != nil {
			select {
			case <-lent:
				continue
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if err := r.hear(0, func() bool { lent, _ := r.status(); return lent == nil }); err != nil {
			return err
		}
	}
}

func (r *remoteDirector) status() (lent <-chan struct{}, broken error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lent, r.broken
}

// hear takes the next message of the tap, unless none comes for silence, or it is
// not meant to wait any more once the deadline is set: an interruption from then
// on is noticed.
func (r *remoteDirector) hear(silence time.Duration, mayWait func() bool) error {
	r.listening.Lock()
	defer r.listening.Unlock()
	if err := r.pair.arm(silence); err != nil {
		return fmt.Errorf("listen to the tap: %w", err)
	}
	if !mayWait() {
		return nil
	}
	m, _, err := r.pair.next()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil
	case errors.Is(err, io.EOF):
		return errTapGone
	case err != nil:
		return fmt.Errorf("listen to the tap: %w", err)
	}
	return r.take(m)
}

// borrow makes listen leave the pair alone until giveBack.
func (r *remoteDirector) borrow() {
	r.mu.Lock()
	r.lent = make(chan struct{})
	r.mu.Unlock()
	r.pair.interrupt()
}

func (r *remoteDirector) giveBack(broken error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lent != nil {
		close(r.lent)
		r.lent = nil
	}
	if r.broken == nil {
		r.broken = broken
	}
}

func (r *remoteDirector) take(m *pairMessage) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.link
	current := l != nil && l.conn == m.conn
	switch m.kind {
	case pairRing:
		r.raise(m.state.positions)
	case pairPositions:
		r.state = m.state
		r.raise(m.state.positions)
		if l != nil {
			l.work.announce = true
		}
	case pairSend:
		if current {
			l.work.messages = append(l.work.messages, append([]byte(nil), m.body...))
		}
	case pairStart:
		if current {
			start := m.start
			l.work.start = &start
		}
	case pairAskFor:
		if current {
			l.work.give = true
		}
	case pairLogin:
		return r.answered(m)
	case pairDrop:
		if current && l.dropped == nil {
			l.dropped = fmt.Errorf("the tap ended the connection: %s", m.body)
			close(l.ended)
		}
	default:
		return fmt.Errorf("the tap sends %q", m.kind)
	}
	if l != nil {
		l.fresh = true
	}
	return nil
}

// raise takes positions, which never go back; messages that carry them may have
// overtaken each other.
func (r *remoteDirector) raise(p positions) {
	r.commit.Store(max(r.commit.Load(), uint64(p.commit)))
	r.truncate.Store(max(r.truncate.Load(), uint64(p.truncate)))
}

func (r *remoteDirector) connect(int) (link, error) {
	r.mu.Lock()
	r.conn++
	l := &remoteLink{r: r, conn: r.conn, ended: make(chan struct{})}
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

// stuck and starve: should the tap not take them, it is gone and so is this
// worker.
func (r *remoteDirector) stuck(_ int, reason string) {
	_ = r.pair.send(pairMessage{kind: pairStuck, body: []byte(reason)})
}

func (r *remoteDirector) starve(int) { _ = r.pair.send(pairMessage{kind: pairStarve}) }

// remoteLink is one connection to the safekeeper, known to the tap by a number.
type remoteLink struct {
	r    *remoteDirector
	conn uint32

	// Of the sending goroutine: the pair is borrowed, and stop ends the watch on
	// its context.
	borrowed bool
	stop     func() bool

	ended chan struct{} // closed when dropped is set

	// Under r.mu.
	work    pushWork
	fresh   bool // a message came since the last take
	dropped error
}

// listenAgain is how long a sender listens to the tap before it looks by itself
// for WAL in the queue, should a ring be lost.
const listenAgain = 250 * time.Millisecond

// wait listens to the tap for one message. The tap also rings when there is WAL,
// so that the queue's own channels need not be watched.
func (l *remoteLink) wait(ctx context.Context, _ waits) error {
	if !l.borrowed {
		l.r.borrow()
		l.stop = context.AfterFunc(ctx, l.r.pair.interrupt)
		l.borrowed = true
	}
	err := l.r.hear(listenAgain, func() bool { return ctx.Err() == nil && !l.isFresh() })
	if err != nil {
		// It is the end of this worker, which is for listen to say.
		l.giveBack(err)
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// rest has listen go on.
func (l *remoteLink) rest() { l.giveBack(nil) }

func (l *remoteLink) giveBack(broken error) {
	if l.borrowed {
		l.borrowed = false
		l.stop()
		l.r.giveBack(broken)
	}
}

func (l *remoteLink) isFresh() bool {
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	return l.fresh
}

func (l *remoteLink) take() (w pushWork, err error) {
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	if l.dropped != nil {
		return w, l.dropped
	}
	w, l.work, l.fresh = l.work, pushWork{}, false
	return w, nil
}

func (l *remoteLink) received(payload []byte) error {
	return l.r.pair.send(pairMessage{kind: pairReceived, conn: l.conn, body: payload})
}

func (l *remoteLink) close() {
	l.giveBack(nil)
	l.r.mu.Lock()
	if l.r.link == l {
		l.r.link = nil
	}
	l.r.mu.Unlock()
	_ = l.r.pair.send(pairMessage{kind: pairClosed, conn: l.conn}) // else the tap is gone
}
