package replication

import (
	"errors"
	"time"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication/consensus"
)

// errReplaced ends a link whose peer has been connected to anew.
var errReplaced = errors.New("a newer connection to this peer exists")

// Link is one connection to a peer as the proposer sees it. Its owner reads the
// peer's messages and hands them in from one goroutine, and sends what Take
// returns, whenever Wake has a token, from another.
type Link struct {
	d    *Proposing
	peer int
	wake chan struct{}

	// Under d.mu.
	out   []pushwal.ProposerMessage
	start *consensus.StreamStart
	// announce says that the commit position is to be sent even without WAL.
	announce bool
	dropped  error

	appended consensus.Appended // reused, of the receiving goroutine
}

// LinkWork is what a link has to send now, in this order.
type LinkWork struct {
	Messages []pushwal.ProposerMessage
	// Start is set once: AppendRequests begin there. At least one is sent at
	// once, possibly empty.
	Start *consensus.StreamStart
	// Announce says that the commit position has to go out now, if no AppendRequest
	// has carried it.
	Announce bool
}

// Connect makes a new connection to a peer known; an older link of it ends.
func (d *Proposing) Connect(peer int) *Link {
	l := &Link{d: d, peer: peer, wake: make(chan struct{}, 1)}
	d.mu.Lock()
	defer d.mu.Unlock()
	if old := d.links[peer]; old != nil {
		old.drop(errReplaced)
		old.nudge()
		_, _ = d.p.Step(&consensus.Disconnected{Peer: peer})
	}
	d.links[peer] = l
	return l
}

// Greeting is what to send first.
func (l *Link) Greeting() *pushwal.ProposerGreeting {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	return l.d.p.Greeting(l.peer)
}

// Greeted takes the peer's greeting. An error ends the connection.
func (l *Link) Greeted(g *pushwal.AcceptorGreeting) error {
	return l.event(&consensus.Greeted{Peer: l.peer, Greeting: g})
}

// Voted takes the answer to a VoteRequest.
func (l *Link) Voted(r *pushwal.VoteResponse) error {
	return l.event(&consensus.Voted{Peer: l.peer, Response: r})
}

// Appended takes an acknowledgement, which is not kept.
func (l *Link) Appended(r *pushwal.AppendResponse) error {
	l.appended = consensus.Appended{Peer: l.peer, Response: r}
	return l.event(&l.appended)
}

// Configured takes the answer to a ConfigurationRequest.
func (l *Link) Configured(r *pushwal.ConfigurationResponse) error {
	return l.event(&consensus.Configured{Peer: l.peer, Response: r})
}

// Requested takes an operator's wish that the peer passes on.
func (l *Link) Requested(r *pushwal.MembershipRequest) error {
	return l.event(&consensus.Reconfigure{Config: r.Config})
}

func (l *Link) event(ev consensus.Event) error {
	d := l.d
	d.mu.Lock()
	if l.dropped != nil {
		defer d.mu.Unlock()
		return l.dropped
	}
	e, err := d.p.Step(ev)
	if a, ok := ev.(*consensus.Appended); ok && err == nil && a.Response.FlushLSN > d.p.CommitLSN() {
		d.acked.Add(a.Response.FlushLSN, time.Now())
	}
	wake := d.take(&e)
	d.mu.Unlock()
	d.finish(&e, wake)
	return err
}

// Take returns what there is to send. The error says why the connection has to
// be closed.
func (l *Link) Take() (LinkWork, error) {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	if l.dropped != nil {
		return LinkWork{}, l.dropped
	}
	w := LinkWork{Messages: l.out, Start: l.start, Announce: l.announce}
	l.out, l.start, l.announce = nil, nil, false
	return w, nil
}

// Wake has a token when there may be something to send, or a commit position to
// announce. Tokens may be spurious.
func (l *Link) Wake() <-chan struct{} { return l.wake }

// Close says that the connection is gone.
func (l *Link) Close() {
	d := l.d
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.links[l.peer] == l {
		d.links[l.peer] = nil
		_, _ = d.p.Step(&consensus.Disconnected{Peer: l.peer})
	}
	l.drop(errReplaced)
}

func (l *Link) drop(err error) {
	if l.dropped == nil {
		l.dropped = err
	}
}

func (l *Link) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}
