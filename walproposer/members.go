package walproposer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/walhaven/walhaven/internal/conninfo"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
)

// maxPeers bounds the safekeepers of one session: both sets of a membership, and
// what the operator's list names besides.
const maxPeers = 2 * pushwal.MaxMembers

// all are the connection strings, by peer. The slice is never changed.
func (p *peers) all() []string {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.conninfos
}

// add appends one more peer.
func (p *peers) add(c string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conninfos = append(slices.Clone(p.conninfos), c)
}

// conninfoFor is how to reach a member: like the first of the operator's list, at
// its own address.
func (p *peers) conninfoFor(m pushwal.Member) (string, error) {
	settings, err := conninfo.Parse(p.all()[0])
	if err != nil {
		return "", err
	}
	delete(settings, "hostaddr")
	settings["host"], settings["port"] = m.Host, strconv.Itoa(int(m.Port))
	return conninfo.Format(settings), nil
}

func memberAddress(m pushwal.Member) string {
	return net.JoinHostPort(m.Host, strconv.Itoa(int(m.Port)))
}

// follow makes the list that of the membership that the answers name: members that
// it lacks come along, and what is no member any more goes. It says whether that
// changed anything. The operator's list only has to reach somebody who knows.
func (p *peers) follow(answers []replication.Answer) (changed bool, err error) {
	var c pushwal.Configuration
	for _, a := range answers {
		if a.Err == nil && a.Configuration.Generation > c.Generation {
			c = a.Configuration
		}
	}
	if c.Generation <= 1 { // as founded: the list is what it was founded with
		return false, nil
	}
	var next []string
	covered := map[pushwal.NodeID]bool{}
	addresses := map[string]bool{}
	for i, a := range answers {
		if a.Err == nil && !c.Has(a.NodeID) {
			changed = true
			continue
		}
		if a.Err == nil {
			covered[a.NodeID] = true
		}
		addresses[p.address(i)] = true
		next = append(next, p.all()[i])
	}
	for _, m := range c.All() {
		if covered[m.ID] || addresses[memberAddress(m)] {
			continue
		}
		one, err := p.conninfoFor(m)
		if err != nil {
			return false, err
		}
		covered[m.ID], changed = true, true
		next = append(next, one)
	}
	if changed && len(next) > 0 && len(next) <= maxPeers {
		p.mu.Lock()
		p.conninfos = next
		p.mu.Unlock()
		return true, nil
	}
	return false, nil
}

// roll keeps the push workers those of the membership while a session runs.
type roll struct {
	s *session
	// news has the newest membership that came into force or is wanted.
	news chan pushwal.Configuration

	mu    sync.Mutex
	stop  map[int]context.CancelFunc // by peer
	came  map[int]pushwal.NodeID     // who is to be behind a peer that was called
	spawn func(func() error)         // runs a worker, and waits for it in the end
}

var errTooManyPeers = errors.New("the membership has too many nodes")

// dismissAfter is how long the worker of a node that is no member any more goes on:
// its next greeting tells the node.
const dismissAfter = 5 * time.Second

func newRoll(s *session) *roll {
	return &roll{s: s, news: make(chan pushwal.Configuration, 1), stop: map[int]context.CancelFunc{}, came: map[int]pushwal.NodeID{}}
}

// hear takes a membership; an older one that was not looked at yet is void.
func (r *roll) hear(c pushwal.Configuration) {
	for {
		select {
		case r.news <- c:
			return
		default:
		}
		select {
		case <-r.news:
		default:
		}
	}
}

// start starts the worker of a peer.
func (r *roll) start(ctx context.Context, peer int) {
	wctx, cancel := context.WithCancel(ctx)
	r.mu.Lock()
	r.stop[peer] = cancel
	r.mu.Unlock()
	r.spawn(func() error {
		defer cancel()
		err := r.s.crew.push(wctx, r.s, peer)
		if wctx.Err() != nil && ctx.Err() == nil {
			return nil // dismissed
		}
		return err
	})
}

// run follows the membership until ctx is done.
func (r *roll) run(ctx context.Context) error {
	var dismiss <-chan time.Time
	var now pushwal.Configuration
	for {
		select {
		case now = <-r.news:
			r.s.logger.Info("membership", "generation", uint32(now.Generation), "members", len(now.Members), "new_members", len(now.NewMembers))
			r.count()
			if err := r.call(ctx, now); err != nil {
				r.s.logger.Error("cannot reach a new member", "err", err)
			}
			dismiss = time.After(dismissAfter)
		case <-dismiss:
			r.dismiss(r.s.term.d.Configuration(), now)
			dismiss = nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// count notes how many members there are.
func (r *roll) count() {
	c := r.s.term.d.Configuration()
	r.s.metrics.membership(c)
	r.s.term.members.Store(int64(len(c.Members)))
	r.s.term.spares.follow(c)
}

// call starts workers for new members that have none.
func (r *roll) call(ctx context.Context, c pushwal.Configuration) error {
	for _, m := range c.NewMembers {
		same := func(o pushwal.Member) bool { return o.ID == m.ID && o.Host == m.Host && o.Port == m.Port }
		if slices.ContainsFunc(c.Members, same) || r.reached(m) {
			continue
		}
		if len(r.s.peers.all()) >= maxPeers {
			return errTooManyPeers
		}
		one, err := r.s.peers.conninfoFor(m)
		if err != nil {
			return err
		}
		r.s.peers.add(one)
		peer := r.s.term.d.AddPeer()
		r.mu.Lock()
		r.came[peer] = m.ID
		r.mu.Unlock()
		r.s.logger.Info("a member joins", "node", uint64(m.ID), "safekeeper", r.s.peers.address(peer))
		r.start(ctx, peer)
	}
	return nil
}

// reached says whether a worker is there for a member: by its address, or by the
// node that answered there and still does.
func (r *roll) reached(m pushwal.Member) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for peer := range r.s.peers.all() {
		if r.stop[peer] == nil {
			continue
		}
		if r.s.peers.address(peer) == memberAddress(m) || r.s.term.d.NodeOf(peer) == m.ID && r.s.term.attendance.isLive(peer) {
			return true
		}
	}
	return false
}

// dismiss ends the workers of nodes that are neither members nor wanted, as the last
// news say: one that is being filled, or does not answer yet, is waited for as long as
// it is wanted.
func (r *roll) dismiss(c, wanted pushwal.Configuration) {
	if c.Joint() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for peer, stop := range r.stop {
		id := cmp.Or(r.s.term.d.NodeOf(peer), r.came[peer])
		if id != 0 && (!c.Has(id) && !wanted.Has(id) || r.moved(peer, id)) {
			r.s.logger.Info("no member any more", "node", uint64(id), "safekeeper", r.s.peers.address(peer))
			stop()
			delete(r.stop, peer)
			r.s.term.stuck(peer, "")
		} else if id != 0 && !c.Has(id) {
			r.s.logger.Info("a new member is waited for", "node", uint64(id), "safekeeper", r.s.peers.address(peer))
		}
	}
}

// moved says whether a node is met behind another peer meanwhile.
func (r *roll) moved(peer int, id pushwal.NodeID) bool {
	for other := range r.stop {
		if other != peer && r.s.term.d.NodeOf(other) == id && r.s.term.attendance.isLive(other) && !r.s.term.attendance.isLive(peer) {
			return true
		}
	}
	return false
}

// membership takes what a safekeeper says about members.
func (l *localLink) membership(payload []byte) error {
	switch kind := pushwal.Kind(payload); kind {
	case pushwal.KindConfiguration:
		var m pushwal.ConfigurationResponse
		if err := wireCodec.DecodeConfigurationResponse(payload, &m); err != nil {
			return err
		}
		return l.l.Configured(&m)
	case pushwal.KindMembership:
		var m pushwal.MembershipRequest
		if err := wireCodec.DecodeMembershipRequest(payload, &m); err != nil {
			return err
		}
		return l.l.Requested(&m)
	default:
		return fmt.Errorf("unexpected message %q", kind)
	}
}
