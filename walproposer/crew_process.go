package walproposer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/walhaven/walhaven/internal/seqpacket"
	"github.com/walhaven/walhaven/shmqueue"
)

// processes is the crew of a tap: push workers that the supervisor starts, each
// used for one term. An idle one per safekeeper waits for the next.
type processes struct {
	// tell sends the supervisor a message; an error ends the tap.
	tell func(message)

	mu     sync.Mutex
	idle   []chan *hand // by peer, room for one
	hands  map[workerID]*hand
	shared *shmqueue.Shared          // of the session
	slots  map[shmqueue.SlotID]*hand // of that queue
}

// hand is one push worker.
type hand struct {
	id     workerID
	pair   *pairConn
	reaped chan struct{} // closed when the supervisor has waited for the process
}

func newProcesses(peers int, tell func(message)) *processes {
	p := &processes{tell: tell, hands: map[workerID]*hand{}, idle: make([]chan *hand, peers)}
	for i := range p.idle {
		p.idle[i] = make(chan *hand, 1)
	}
	return p
}

// place is where idle workers of a peer wait. The supervisor is told of a peer that
// has come, so that it starts some.
func (p *processes) place(peer int) chan *hand {
	p.mu.Lock()
	defer p.mu.Unlock()
	if peer >= len(p.idle) {
		for peer >= len(p.idle) {
			p.idle = append(p.idle, make(chan *hand, 1))
		}
		p.tell(message{Places: len(p.idle)})
	}
	return p.idle[peer]
}

// arrived takes a worker's end of the pair from the supervisor, waits for its
// first word, and tells the supervisor.
func (p *processes) arrived(id workerID, f *os.File) error {
	if id.Peer < 0 || id.Peer >= maxPeers {
		return errors.Join(fmt.Errorf("worker for safekeeper %d of at most %d", id.Peer, maxPeers), f.Close())
	}
	idle := p.place(id.Peer)
	c, err := seqpacket.FromFile(f)
	if err != nil {
		return err
	}
	h := &hand{id: id, pair: newPairConn(c, "walproposer/tap/send"), reaped: make(chan struct{})}
	p.mu.Lock()
	p.hands[id] = h
	p.mu.Unlock()
	m, _, err := h.pair.receive(0)
	if err != nil || m.kind != pairHello {
		h.pair.close()
		return nil //nolint:nilerr // The supervisor sees it miss its deadline, or its end.
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case old := <-idle:
		old.pair.close()
	default:
	}
	idle <- h
	p.tell(message{Registered: &id})
	return nil
}

// gone says that the supervisor has waited for a worker.
func (p *processes) gone(id workerID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h := p.hands[id]; h != nil {
		delete(p.hands, id)
		close(h.reaped)
	}
}

// queue makes memory that workers can map: a new one for each session.
func (p *processes) queue(o shmqueue.Options) (queue, error) {
	o.OnRevoke = p.revoked
	q, err := shmqueue.Create(o)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shared, p.slots = q, map[shmqueue.SlotID]*hand{}
	return q, nil
}

// revoked is called when the queue needs what a worker has pinned.
func (p *processes) revoked(slot shmqueue.SlotID) {
	p.mu.Lock()
	h := p.slots[slot]
	p.mu.Unlock()
	if h != nil {
		p.tell(message{Kill: &h.id, Reason: "it held on to bytes that the queue needed"})
	}
}

// push uses one worker after the other.
func (p *processes) push(ctx context.Context, s *session, peer int) error {
	idle := p.place(peer)
	for {
		var h *hand
		select {
		case h = <-idle:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		err := p.use(ctx, s, peer, h)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s.logger.Warn("lost a push worker", "safekeeper", s.peers.address(peer), "err", err)
		// It may have been refused the queue, and cannot say so any more.
		s.term.suspect()
	}
}

// use gives a worker its task and directs it to its end. Its slot is given back
// once the process is gone for certain.
func (p *processes) use(ctx context.Context, s *session, peer int, h *hand) error {
	q := p.shared
	g, err := q.Grant()
	if err != nil {
		return errors.Join(err, p.end(ctx, h, ""))
	}
	p.mu.Lock()
	p.slots[g.ID] = h
	p.mu.Unlock()
	h.pair.c.OwnThread()
	d := newDriver(s.term, peer, h.pair)
	d.own = s.term.pushing(q, s.metrics)
	q.RingBy(g.ID, d.ring)
	if err = h.begin(s, peer, g); err == nil {
		err = d.run(ctx)
	}
	reason := ""
	if ctx.Err() == nil && err != nil {
		reason = err.Error()
	}
	if gone := p.end(ctx, h, reason); gone != nil {
		return err
	}
	p.mu.Lock()
	delete(p.slots, g.ID)
	p.mu.Unlock()
	q.Reap(g.ID)
	return err
}

// begin hands the task over.
func (h *hand) begin(s *session, peer int, g *shmqueue.Grant) error {
	defer g.Close() //nolint:errcheck // Copies; the worker has its own.
	conninfos, err := s.peers.withoutPasswords()
	if err != nil {
		return err
	}
	body, err := json.Marshal(workerTask{
		Peer: peer, Conninfos: conninfos, Tenant: s.peers.tenant, Timeline: s.peers.timeline, Slot: g.ID,
	})
	if err != nil {
		return fmt.Errorf("encode task: %w", err)
	}
	if len(body) > pairPart {
		return fmt.Errorf("connection strings of %d bytes are too long", len(body))
	}
	return h.pair.send(pairMessage{kind: pairBegin, body: body}, g.Files[:]...)
}

// end ends a worker and waits until it is gone, or ctx is done: then the queue
// goes as a whole.
func (p *processes) end(ctx context.Context, h *hand, reason string) error {
	h.pair.close()
	p.tell(message{Kill: &h.id, Reason: reason})
	select {
	case <-h.reaped:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
