package consensus

import (
	"fmt"
	"slices"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// xStart is where the explored timeline starts: a segment's first byte, so that no
// prefix is sent. A record is one byte, which names the slot that wrote it.
const xStart = wal.LSN(testSegment)

// xScope bounds an exploration: how many there are of each, and how often each
// fault may happen. Within it every interleaving is tried.
type xScope struct {
	name      string
	nodes     int
	joiners   int     // of the nodes: have the timeline, are no members
	proposers []xKind // slots, each started at most once, in this order
	writes    int     // records that a slot writes at most
	crashes   int     // of nodes, between any two effects; unsynced bytes kept or lost
	breaks    int     // connections that a proposer gives up; what it sent may still arrive
	drops     int     // messages lost, the ones behind it arriving
	dups      int     // messages delivered twice
	wipes     int     // data directories lost
	learns    int     // members that learn from a peer
	ticks     int     // that campaign again
	wishes    [][]int // memberships that a proposer may be asked for, as node IDs
	asks      int     // how often it is asked
	gossips   int     // members that take the membership from a peer
	inTurn    bool    // a slot starts when the one before was elected or has ended
	quiet     bool    // commit positions travel with WAL only
	late      bool    // answers arrive later than they are sent
	lazy      bool    // nodes sync later than they append
	aside     bool    // and hear still later that it is done, more may have come or been cut meanwhile
	queued    bool    // appends are made when there is something to send, not when they arrive
	broken    xBreak  // a driver that does not keep its rules, for negative controls
	states    int     // how many states there are, 0 = not known
	level     int     // explored with -explore of this, or above
}

// xKind is what stands behind a proposer.
type xKind uint8

const (
	restored xKind = iota // a server that was made from what the voters hold, and writes
	headless              // none
	again                 // the server of the first slot, whose connection broke
)

// xBreak is a rule of the acceptor's driver that is not kept.
type xBreak uint8

const (
	nothingBroken xBreak = iota
	voteNotSaved
	historyBeforeCut
	ackBeforeSync
	ackDuringSync
	wipedCounts
)

// xWorld is one state. What it points to is shared with other states: own returns
// copies that this step may change.
type xWorld struct {
	s     *xScope
	nodes []*xNode
	props []*xProp
	links []*xLink // in the order of (slot, node, number)
	left  xLeft
	ghost xGhost
	how   *xTrace

	fresh []any // what this step has copied
	void  bool  // there is no such step
	err   string
}

// xLeft is what the bound leaves.
type xLeft struct{ started, crashes, breaks, drops, dups, wipes, learns, ticks, asks, gossips int8 }

// xGhost is what only an onlooker knows.
type xGhost struct {
	leaders   []xLeader
	committed string // bytes from xStart on that were acknowledged
	configs   []pushwal.Configuration
}

// xLeader is a term that was won.
type xLeader struct {
	term  wal.Term
	slot  int
	start wal.LSN
}

type xTrace struct {
	before *xTrace
	act    xAct
}

// xMsg is a message under way; nil fields say that the connection has ended.
type xMsg struct {
	toNode pushwal.ProposerMessage
	toProp pushwal.AcceptorMessage
	bytes  []byte // encoded, which is what states are compared by
}

// xLink is a connection. When its proposer gives it up, what it sent may still
// arrive.
type xLink struct {
	slot, node, number int
	open               bool // for the proposer
	toNode, toProp     []*xMsg
	hash               xKey
}

func (l *xLink) conn() ConnID { return ConnID(1 + l.slot*100 + l.number) }

// own returns a copy that this step may change.
func own[T any](w *xWorld, p **T, copy func(*T) *T) *T {
	if !slices.Contains(w.fresh, any(*p)) {
		*p = copy(*p)
		w.fresh = append(w.fresh, *p)
	}
	return *p
}

func (w *xWorld) node(i int) *xNode { return own(w, &w.nodes[i], (*xNode).clone) }
func (w *xWorld) prop(i int) *xProp { return own(w, &w.props[i], (*xProp).clone) }

func (w *xWorld) link(i int) *xLink {
	return own(w, &w.links[i], func(l *xLink) *xLink {
		c := *l
		c.hash = xKey{}
		c.toNode, c.toProp = slices.Clone(l.toNode), slices.Clone(l.toProp)
		return &c
	})
}

// find returns the index of the link that a proposer has open to a node, or -1.
func (w *xWorld) find(slot, node int) int {
	return slices.IndexFunc(w.links, func(l *xLink) bool { return l.open && l.slot == slot && l.node == node })
}

// step returns the state after an action, nil when it changes nothing.
func (w *xWorld) step(act xAct) *xWorld {
	n := &xWorld{
		s: w.s, nodes: slices.Clone(w.nodes), props: slices.Clone(w.props), links: slices.Clone(w.links),
		left: w.left, ghost: w.ghost, how: &xTrace{w.how, act}, fresh: make([]any, 0, 4),
	}
	n.do(act)
	if n.void {
		return nil
	}
	n.sweep()
	n.check()
	n.fresh = nil
	return n
}

func (w *xWorld) fail(format string, args ...any) {
	if w.err == "" {
		w.err = fmt.Sprintf(format, args...)
	}
}

// sweep forgets connections that nothing can come of.
func (w *xWorld) sweep() {
	for i := 0; i < len(w.links); {
		l := w.links[i]
		if l.open || len(l.toNode) > 0 {
			i++
			continue
		}
		if n := w.nodes[l.node]; n.a.conns[l.conn()] != nil {
			w.node(l.node).a.Disconnected(l.conn())
		}
		w.links = slices.Delete(w.links, i, i+1)
	}
}

// connect opens a connection. The greeting and its answer are one step.
func (w *xWorld) connect(slot, node int) {
	if w.props[slot].ended || w.find(slot, node) >= 0 {
		return
	}
	l := &xLink{slot: slot, node: node, open: true}
	at := 0
	for i, o := range w.links {
		if o.slot == slot && o.node == node && o.number == l.number {
			l.number++
		}
		if o.slot < slot || o.slot == slot && (o.node < node || o.node == node && o.number < l.number) {
			at = i + 1
		}
	}
	n, p := w.node(node), w.prop(slot)
	e, err := n.a.Step(l.conn(), p.p.Greeting(node))
	if err != nil {
		return
	}
	w.links = slices.Insert(w.links, at, l)
	w.fresh = append(w.fresh, l)
	if e.Save != nil {
		n.save(w, *e.Save)
	}
	w.event(slot, &Greeted{Peer: node, Greeting: e.Send[0].Msg.(*pushwal.AcceptorGreeting)})
}

// hangUp is the end of a connection for its proposer.
func (w *xWorld) hangUp(slot, node int, tell bool) {
	i := w.find(slot, node)
	if i < 0 {
		return
	}
	l := w.link(i)
	l.open, l.toProp = false, nil
	p := w.prop(slot)
	if !w.s.queued && p.owes(node) { // what it has to say now may be under way
		l.toNode = append(l.toNode, xToNode(p.request(node)))
	}
	p.at[node] = 0
	if tell {
		w.event(slot, &Disconnected{Peer: node})
	}
}

// cutOff is the end of a connection for its node: what it sent may still arrive.
func (w *xWorld) cutOff(i int) {
	l := w.link(i)
	w.node(l.node).a.Disconnected(l.conn())
	l.toNode = nil
	if l.open {
		l.toProp = append(l.toProp, &xMsg{})
	}
}

func (w *xWorld) send(slot, node int, m pushwal.ProposerMessage) {
	if i := w.find(slot, node); i >= 0 {
		l := w.link(i)
		l.toNode = append(l.toNode, xToNode(m))
	}
}

func xToNode(m pushwal.ProposerMessage) *xMsg { return &xMsg{toNode: m, bytes: xEncode(m)} }

func (w *xWorld) answer(out []Outgoing, node int) {
	for _, o := range out {
		i := slices.IndexFunc(w.links, func(l *xLink) bool { return l.open && l.node == node && l.conn() == o.Conn })
		if i < 0 {
			continue
		}
		m := &xMsg{toProp: o.Msg, bytes: xEncode(o.Msg)}
		if w.s.late {
			l := w.link(i)
			l.toProp = append(l.toProp, m)
		} else {
			w.toProp(i, m)
		}
	}
}

func xEncode(m any) []byte {
	c := pushwal.Codec{Version: pushwal.Version3, Walhaven: true}.Negotiated(pushwal.Revision)
	switch m := m.(type) {
	case *pushwal.VoteRequest:
		return c.AppendVoteRequest(nil, m)
	case *pushwal.ProposerElected:
		return c.AppendProposerElected(nil, m)
	case *pushwal.AppendRequest:
		return append(c.AppendAppendRequestHeader(nil, m), m.WAL...)
	case *pushwal.ConfigurationRequest:
		return c.AppendConfigurationRequest(nil, m)
	case *pushwal.ConfigurationResponse:
		return c.AppendConfigurationResponse(nil, m)
	case *pushwal.VoteResponse:
		return c.AppendVoteResponse(nil, m)
	case *pushwal.AppendResponse:
		return c.AppendAppendResponse(nil, m)
	}
	panic(fmt.Sprintf("explore: %T is not expected", m))
}
