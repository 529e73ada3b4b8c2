package walproposer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/walhaven/walhaven/internal/seqpacket"
)

// driver directs one push worker in another process: what the worker hears of
// its safekeeper goes to the proposer, what the proposer wants goes to the
// worker. Acknowledgements reach the proposer this way and no other.
type driver struct {
	t    *term
	peer int
	pair *pairConn
	kick chan struct{}

	// own is what connections that the worker gives go on with; nil: it keeps them.
	own *pushing
	// passing is held while the worker is told what to send.
	passing sync.Mutex

	mu    sync.Mutex
	conn  uint32
	link  *localLink   // of conn; nil: none
	start *streamStart // of conn, once that streams
	// woken is set once conn is asked for, and rung when there is something to send;
	// end ends it once it is ours.
	woken chan struct{}
	end   context.CancelFunc
}

func newDriver(t *term, peer int, p *pairConn) *driver {
	return &driver{t: t, peer: peer, pair: p, kick: make(chan struct{}, 1)}
}

// run returns why the worker is of no more use.
func (d *driver) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	defer d.forget(d.current())
	g.Go(func() error { return d.hear(ctx, g) })
	g.Go(func() error { return d.tell(ctx) })
	g.Go(func() error {
		<-ctx.Done()
		d.pair.close() // ends hearing
		return context.Cause(ctx)
	})
	return g.Wait()
}

// hear takes what the worker says.
func (d *driver) hear(ctx context.Context, g *errgroup.Group) error {
	var founding, asking sync.Mutex
	for {
		m, files, err := d.pair.receive(pairSilence)
		switch {
		case errors.Is(err, io.EOF):
			return errors.New("it ended")
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("it said nothing for %s", pairSilence)
		case err != nil:
			return err
		}
		if m.kind != pairGive {
			seqpacket.Close(files)
		}
		switch m.kind {
		case pairOpen:
			err = d.open(m.conn)
		case pairReceived:
			err = d.received(m)
		case pairOffer:
			err = d.offered(m.conn)
		case pairGive:
			err = d.given(ctx, g, m, files)
		case pairClosed:
			d.closed(m.conn)
		case pairFound:
			if founding.TryLock() {
				g.Go(func() error {
					defer founding.Unlock()
					if err := d.t.found(ctx, d.peer); err != nil {
						d.t.logger.Debug("cannot found the timeline on a member", "safekeeper", d.t.peers.address(d.peer), "err", err)
					}
					return nil
				})
			}
		case pairAsk:
			err = d.asked(ctx, g, &asking, m)
		case pairSuspect:
			d.t.suspect()
		case pairStuck:
			d.t.stuck(d.peer, string(m.body))
		case pairStarve:
			d.t.starve(d.peer)
		case pairPulse:
		default:
			err = fmt.Errorf("it sends %q", m.kind)
		}
		if err != nil {
			return err
		}
	}
}

// asked gets the worker a login, which takes a connection of its own. A question
// that comes while another is worked on is refused.
func (d *driver) asked(ctx context.Context, g *errgroup.Group, asking *sync.Mutex, m *pairMessage) error {
	if !asking.TryLock() {
		return d.pair.send(pairMessage{kind: pairLogin, conn: m.conn, body: []byte(`{"error":"another login is being made"}`)})
	}
	number, request := m.conn, append([]byte(nil), m.body...)
	g.Go(func() error {
		answer := d.t.tokens.answer(ctx, request)
		asking.Unlock()
		return d.pair.send(pairMessage{kind: pairLogin, conn: number, body: answer})
	})
	return nil
}

// open makes a connection known. Numbers only rise.
func (d *driver) open(conn uint32) error {
	if last, ours := d.status(); conn <= last || ours {
		return fmt.Errorf("its connection %d follows %d", conn, last)
	}
	d.forget(d.current())
	l := d.t.open(d.peer)
	d.mu.Lock()
	d.conn, d.link, d.start, d.woken = conn, l, nil, nil
	d.mu.Unlock()
	d.nudge()
	return nil
}

// received hands a message of the safekeeper to the proposer. One that the
// proposer does not take costs the connection, not the worker.
func (d *driver) received(m *pairMessage) error {
	d.mu.Lock()
	l := d.link
	if d.conn != m.conn || d.end != nil {
		l = nil
	}
	d.mu.Unlock()
	if l == nil {
		return nil
	}
	if err := l.received(m.body); err != nil {
		return d.drop(m.conn, err)
	}
	return nil
}

func (d *driver) drop(conn uint32, why error) error {
	d.forget(conn)
	text := why.Error()
	return d.pair.send(pairMessage{kind: pairDrop, conn: conn, body: []byte(text[:min(len(text), pairPart)])})
}

func (d *driver) current() uint32 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.conn
}

// forget ends the connection of that number, if it is the one.
func (d *driver) forget(conn uint32) {
	d.mu.Lock()
	l, end := d.link, d.end
	if d.conn != conn {
		l, end = nil, nil
	} else {
		d.link, d.end = nil, nil
	}
	d.mu.Unlock()
	if end != nil {
		end()
	}
	if l != nil {
		l.close()
	}
	d.nudge()
}

// ring wakes the worker, for there is WAL, and tells it the newest positions. It
// waits for nothing: whoever has so much unread wakes anyhow.
func (d *driver) ring() bool {
	d.pair.trySend(pairMessage{kind: pairRing, state: pairState{positions: d.t.positions()}})
	return true
}

func (d *driver) nudge() { ringOnce(d.kick) }

func ringOnce(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// tellEvery is how often a worker is told about donors, the quorum and the commit
// position if nothing else gives reason to.
const tellEvery = 200 * time.Millisecond

// tell sends what the proposer wants to be sent, and positions as they move.
func (d *driver) tell(ctx context.Context) error {
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	var sent pairState
	for first := true; ; first = false {
		_, ours := d.status() // Then it sleeps, and has to know for its next connection only.
		if now := d.state(); first || !ours && now != sent {
			m := pairMessage{kind: pairPositions, state: now}
			if first {
				if err := d.pair.send(m); err != nil {
					return err
				}
				sent = now
			} else if d.pair.trySend(m) {
				sent = now
			} // A worker that is busy elsewhere hears the newest later.
		}
		wake, err := d.pass()
		if err != nil {
			return err
		}
		select {
		case <-wake:
		case <-d.kick:
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// pass sends what the connection has to send, and returns what tells of more.
func (d *driver) pass() (wake <-chan struct{}, err error) {
	d.passing.Lock()
	defer d.passing.Unlock()
	d.mu.Lock()
	conn, l, woken := d.conn, d.link, d.woken
	d.mu.Unlock()
	if l == nil {
		return nil, nil
	}
	wake = l.l.Wake()
	if woken != nil {
		ringOnce(woken)
		return wake, nil
	}
	w, err := l.take()
	if err != nil {
		return nil, d.drop(conn, err)
	}
	for _, m := range w.messages {
		if err := d.pair.send(pairMessage{kind: pairSend, conn: conn, body: m}); err != nil {
			return nil, err
		}
	}
	if w.start == nil {
		return wake, nil
	}
	d.mu.Lock()
	if d.conn == conn {
		d.start = w.start
	}
	d.mu.Unlock()
	return wake, d.pair.send(pairMessage{kind: pairStart, conn: conn, start: *w.start})
}

func (d *driver) state() pairState {
	s := pairState{positions: d.t.positions(), donor: -1, quorum: d.t.quorum()}
	if peer, upto, ok := d.t.donor(); ok {
		s.donor, s.donorUpto = int32(peer), upto
	}
	return s
}
