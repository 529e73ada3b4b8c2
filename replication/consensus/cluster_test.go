package consensus

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// testCluster is nodes, proposers and the connections between them, each a queue
// each way. Nothing moves unless it is told to.
type testCluster struct {
	nodes     []*testNode
	proposers map[string]*testProposer
	nextConn  ConnID
	trace     func(format string, args ...any)
}

// testLink is a connection.
type testLink struct {
	conn   ConnID
	node   *testNode
	peer   int
	toNode []pushwal.ProposerMessage
	toProp []pushwal.AcceptorMessage
	at     wal.LSN // where the stream stands, 0 = not streaming
}

// testProposer is a proposer with a driver that follows the rules of
// ProposerEffects and a server whose WAL is pg.
type testProposer struct {
	name     string
	p        *Proposer
	c        *testCluster
	links    []*testLink
	base     wal.LSN // of pg[0], a segment start
	pg       []byte
	request  *ProofRequest
	election *Election
	commit   wal.LSN
	fatal    *Error
	members  pushwal.Configuration // the last Members
	synced   bool
	chunk    int // bytes of WAL in one request, 0 = all that there is
}

func newTestCluster(conf pushwal.Configuration, n int) *testCluster {
	c := &testCluster{proposers: map[string]*testProposer{}, trace: func(string, ...any) {}}
	for id := pushwal.NodeID(1); id <= pushwal.NodeID(n); id++ {
		node := newTestNode(id, testState(id, conf))
		node.trace = func(format string, args ...any) { c.trace("  "+format, args...) }
		c.nodes = append(c.nodes, node)
	}
	return c
}

func (c *testCluster) node(id int) *testNode { return c.nodes[id-1] }

// propose adds a proposer whose server has the WAL of the node that is ahead, or
// of the given one.
func (c *testCluster) propose(name string, from int, change func(*ProposerConfig)) *testProposer {
	conf := ProposerConfig{ID: testID(), SystemID: 7, PGVersion: 170005, SegmentSize: testSegment, Instance: testInstance, Peers: len(c.nodes)}
	for _, n := range c.nodes { // the look
		conf.MinTerm = max(conf.MinTerm, n.disk.Term)
	}
	if change != nil {
		change(&conf)
	}
	p := &testProposer{name: name, p: NewProposer(conf), c: c, links: make([]*testLink, conf.Peers), base: testSegment.SegmentStart(testStart)}
	p.pg = make([]byte, testStart-p.base)
	for _, n := range c.nodes {
		if len(n.log.data) > len(p.pg) && (from == 0 || from == int(n.id)) {
			p.pg = slices.Clone(n.log.data)
		}
	}
	c.proposers[name] = p
	return p
}

// connect opens a new connection to the node behind a peer.
func (p *testProposer) connect(ids ...int) {
	for _, id := range ids {
		p.disconnect(id)
		p.c.nextConn++
		p.links[id-1] = &testLink{conn: p.c.nextConn, node: p.c.node(id), peer: id - 1, toNode: []pushwal.ProposerMessage{p.p.Greeting(id - 1)}}
	}
}

func (p *testProposer) disconnect(ids ...int) {
	for _, id := range ids {
		if l := p.links[id-1]; l != nil {
			p.links[id-1] = nil
			l.node.a.Disconnected(l.conn)
			p.step(&Disconnected{id - 1})
		}
	}
}

func (p *testProposer) step(ev Event) {
	e, err := p.p.Step(ev)
	if err != nil {
		p.c.trace("%s: %v", p.name, err)
		if i := peerOf(ev); i >= 0 {
			p.disconnect(i + 1)
		}
		return
	}
	p.run(e)
}

func peerOf(ev Event) int {
	switch ev := ev.(type) {
	case *Greeted:
		return ev.Peer
	case *Voted:
		return ev.Peer
	case *Appended:
		return ev.Peer
	}
	return -1
}

func (p *testProposer) run(e ProposerEffects) {
	for _, s := range e.Send {
		p.links[s.Peer].toNode = append(p.links[s.Peer].toNode, s.Msg)
	}
	if e.Prove != nil {
		p.request = e.Prove
		p.c.trace("%s: prove term=%d upto=%s of node %d %s", p.name, e.Prove.Term, e.Prove.Upto, e.Prove.DonorNode, showHistory(e.Prove.History))
	}
	if e.Elected != nil {
		p.election = e.Elected
		p.c.trace("%s: elected term=%d start=%s", p.name, e.Elected.Term, e.Elected.Start)
	}
	if e.Commit != 0 {
		p.commit = e.Commit
		p.c.trace("%s: commit %s", p.name, e.Commit)
	}
	for _, s := range e.Stream {
		p.links[s.Peer].at = s.At
		p.stream(p.links[s.Peer])
	}
	for _, d := range e.Drop {
		p.c.trace("%s: drop: %v", p.name, d.Err)
		p.disconnect(d.Peer + 1)
	}
	if e.Members != nil {
		p.members = *e.Members
	}
	if e.Commit != 0 {
		p.broadcast()
	}
	if e.Synced {
		p.synced = true
		p.c.trace("%s: synced", p.name)
	}
	if e.Fatal != nil {
		p.fatal = e.Fatal
		p.c.trace("%s: fatal: %v", p.name, e.Fatal)
		for id := range p.links {
			p.disconnect(id + 1)
		}
	}
}

func (p *testProposer) end() wal.LSN { return p.base + wal.LSN(len(p.pg)) }

// stream sends one request with all that there is, possibly nothing.
func (p *testProposer) stream(l *testLink) {
	end := p.p.Bound(l.at, max(p.end(), l.at))
	if p.chunk > 0 {
		end = min(end, l.at+wal.LSN(p.chunk))
	}
	if p.election.Start > p.end() {
		end = l.at
	}
	m := p.p.AppendRequest(l.at, slices.Clone(p.pg[min(int(l.at-p.base), len(p.pg)):min(int(end-p.base), len(p.pg))]))
	m.CRC = pushwal.Checksum(m.WAL)
	l.at = m.End
	l.toNode = append(l.toNode, m)
}

func (p *testProposer) broadcast() {
	for _, l := range p.links {
		if l != nil && l.at != 0 {
			p.stream(l)
		}
	}
}

// write makes the server write n bytes, which are sent to all that stream.
func (p *testProposer) write(n int) {
	p.pg = append(p.pg, fill(p.p.Term(), n)...)
	p.step(&Available{p.end()})
	p.broadcast()
}

// deliver delivers one message to the node and reports whether there was one.
func (l *testLink) deliver(p *testProposer) bool {
	if len(l.toNode) == 0 {
		return false
	}
	m := l.toNode[0]
	l.toNode = l.toNode[1:]
	p.c.trace("%s->%d %s", p.name, l.node.id, show(m))
	out, err := l.node.step(l.conn, m)
	if err != nil {
		p.c.trace("  node %d: %v", l.node.id, err)
		p.disconnect(l.peer + 1)
		return true
	}
	p.c.route(out)
	return true
}

// answer delivers one message to the proposer.
func (l *testLink) answer(p *testProposer) bool {
	if len(l.toProp) == 0 {
		return false
	}
	m := l.toProp[0]
	l.toProp = l.toProp[1:]
	p.c.trace("%d->%s %s", l.node.id, p.name, show(m))
	switch m := m.(type) {
	case *pushwal.AcceptorGreeting:
		p.step(&Greeted{l.peer, m})
	case *pushwal.VoteResponse:
		p.step(&Voted{l.peer, m})
	case *pushwal.AppendResponse:
		p.step(&Appended{l.peer, m})
	case *pushwal.ConfigurationResponse:
		p.step(&Configured{l.peer, m})
	}
	return true
}

// route puts a node's answers on their connections.
func (c *testCluster) route(out []Outgoing) {
	for _, o := range out {
		for _, p := range c.proposers {
			for _, l := range p.links {
				if l != nil && l.conn == o.Conn {
					l.toProp = append(l.toProp, o.Msg)
				}
			}
		}
	}
}

// settle delivers everything on the named connections, in the order of
// proposers and nodes, until nothing is left. Nodes sync when they have nothing
// to read.
func (c *testCluster) settle(names []string, ids []int) {
	for again := true; again; {
		again = false
		for _, name := range names {
			p := c.proposers[name]
			for _, id := range ids {
				for p.links[id-1] != nil && p.links[id-1].deliver(p) {
					again = true
				}
				c.route(c.node(id).sync())
				for p.links[id-1] != nil && p.links[id-1].answer(p) {
					again = true
				}
			}
		}
	}
}

// crash restarts a node; its connections are gone.
func (c *testCluster) crash(id int) {
	for _, name := range c.names() {
		p := c.proposers[name]
		if id <= len(p.links) && p.links[id-1] != nil {
			p.links[id-1] = nil
			p.step(&Disconnected{id - 1})
		}
	}
	c.node(id).restart()
}

func (c *testCluster) names() (out []string) {
	for name := range c.proposers {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// elect connects a proposer to the nodes, has it prove and win.
func (p *testProposer) elect(t *testing.T, ids ...int) {
	t.Helper()
	for range 2 { // Who does not know the membership is told it once it is known who that is.
		p.connect(slices.DeleteFunc(slices.Clone(ids), func(id int) bool { return id <= len(p.links) && p.links[id-1] != nil })...)
		p.c.settle([]string{p.name}, ids)
	}
	require.NotNil(t, p.request, "no quorum voted")
	p.step(&Proved{Term: p.request.Term})
	p.c.settle([]string{p.name}, ids)
	require.NotNil(t, p.election)
}

func (c *testCluster) String() string {
	s := ""
	for _, n := range c.nodes {
		s += fmt.Sprintf("node %d: term=%d flush=%s commit=%s last log term=%d %s\n", n.id, n.a.State().Term, n.a.FlushLSN(), n.a.CommitLSN(), n.a.LastLogTerm(), showHistory(n.a.History()))
	}
	return s
}
