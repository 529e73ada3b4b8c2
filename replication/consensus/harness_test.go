package consensus

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// Common values of the tests: a timeline that starts in the middle of a segment.
const (
	testSegment = wal.DefaultSegmentSize
	testStart   = wal.LSN(0x1000100)
)

var testInstance = pushwal.Instance{1}

func testID() wal.TTID {
	return wal.TTID{Tenant: wal.TenantID{0xaa}, Timeline: wal.TimelineID{0xbb}}
}

func incarnation(n pushwal.NodeID) pushwal.Incarnation {
	return pushwal.Incarnation{0: 0xcc, 15: byte(n)}
}

func members(ids ...pushwal.NodeID) (out []pushwal.Member) {
	for _, id := range ids {
		out = append(out, pushwal.Member{ID: id, Host: fmt.Sprintf("n%d", id), Port: 5454, Incarnation: incarnation(id)})
	}
	return out
}

func testState(id pushwal.NodeID, conf pushwal.Configuration) State {
	return Founding(State{
		ID: testID(), SystemID: 7, PGVersion: 170005, SegmentSize: testSegment, Start: testStart,
		Incarnation: incarnation(id), Configuration: conf,
	})
}

// memLog is a log in memory: every append ends a record.
type memLog struct {
	base    wal.LSN // of data[0], a segment start
	data    []byte
	durable int
}

func (l *memLog) end() wal.LSN    { return l.base + wal.LSN(len(l.data)) }
func (l *memLog) synced() wal.LSN { return l.base + wal.LSN(l.durable) }

func (l *memLog) truncate(to wal.LSN, prefix bool) {
	n := int(to - l.base)
	if prefix {
		l.data = append(l.data, make([]byte, max(0, n-len(l.data)))...)
	}
	l.data = l.data[:n]
	l.durable = n
}

// testNode is an acceptor with a driver that follows the rules of Effects.
type testNode struct {
	id       pushwal.NodeID
	a        *Acceptor
	log      memLog
	disk     State
	needSync bool
	trace    func(format string, args ...any)
}

func newTestNode(id pushwal.NodeID, s State) *testNode {
	n := &testNode{id: id, disk: s, trace: func(string, ...any) {}}
	n.log.base = s.SegmentSize.SegmentStart(s.Start)
	n.restart()
	return n
}

// restart is a crash and what follows it.
func (n *testNode) restart() {
	n.log.data = n.log.data[:n.log.durable]
	n.needSync = false
	n.a = NewAcceptor(n.id, n.disk, Positions{Write: n.log.end(), FlushRecord: n.log.end()})
}

// step has the node handle a message and returns its answers.
func (n *testNode) step(conn ConnID, m pushwal.ProposerMessage) ([]Outgoing, error) {
	e, err := n.a.Step(conn, m)
	if err != nil {
		n.a.Disconnected(conn)
		return nil, err
	}
	return n.run(e), nil
}

func (n *testNode) run(e Effects) []Outgoing {
	if e.SyncFirst {
		n.trace("node %d: sync", n.id)
		n.log.durable = len(n.log.data)
	}
	if e.Truncate != nil {
		prefix := ""
		if e.Truncate.Prefix {
			prefix = ", prefix made up"
		}
		n.trace("node %d: truncate to %s, timeline %d%s", n.id, e.Truncate.To, e.Truncate.History.Last, prefix)
		n.log.truncate(e.Truncate.To, e.Truncate.Prefix)
	}
	if e.Save != nil {
		n.trace("node %d: save term=%d history=%s commit=%s", n.id, e.Save.Term, showHistory(e.Save.History), e.Save.CommitLSN)
		n.disk = *e.Save
	}
	if e.Append != nil {
		n.log.data = append(n.log.data, e.Append.WAL...)
		n.a.Appended(n.log.end(), n.log.end())
	}
	n.needSync = n.needSync || e.NeedSync
	if e.Commit != 0 {
		n.trace("node %d: commit %s", n.id, e.Commit)
	}
	return e.Send
}

func (n *testNode) sync() []Outgoing {
	if !n.needSync {
		return nil
	}
	n.trace("node %d: sync", n.id)
	n.needSync = false
	n.log.durable = len(n.log.data)
	return n.run(n.a.Synced(n.log.synced(), n.log.synced()))
}

func showHistory(h pushwal.TermHistory) string {
	var b strings.Builder
	for i, e := range h {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%d@%s", e.Term, e.LSN)
	}
	return "[" + b.String() + "]"
}

func showTLI(h wal.TimelineHistory) string {
	if h.Last == 0 || len(h.Ancestors) == 0 {
		return ""
	}
	var b strings.Builder
	for _, e := range h.Ancestors {
		fmt.Fprintf(&b, "%d until %s, ", e.TLI, e.Switch)
	}
	return fmt.Sprintf(" timelines=(%s%d)", b.String(), h.Last)
}

func show(m any) string {
	switch m := m.(type) {
	case *pushwal.ProposerGreeting:
		return "Greeting"
	case *pushwal.VoteRequest:
		return fmt.Sprintf("VoteRequest term=%d", m.Term)
	case *pushwal.ProposerElected:
		return fmt.Sprintf("Elected term=%d start=%s history=%s%s", m.Term, m.StartStreamingAt, showHistory(m.History), showTLI(m.TLIHistory))
	case *pushwal.AppendRequest:
		return fmt.Sprintf("Append term=%d %s..%s commit=%s truncate=%s", m.Term, m.Begin, m.End, m.CommitLSN, m.TruncateLSN)
	case *pushwal.ConfigurationRequest:
		return fmt.Sprintf("Configuration generation=%d term=%d", m.Config.Generation, m.Term)
	case *pushwal.ConfigurationResponse:
		return fmt.Sprintf("Configured generation=%d term=%d accepted=%d in %d", m.Generation, m.Term, m.Accepted, m.AcceptedTerm)
	case *pushwal.AcceptorGreeting:
		joining := ""
		if m.Options != nil && m.Options.Joining {
			joining = " joining"
		}
		return fmt.Sprintf("Greeting node=%d generation=%d term=%d%s", m.NodeID, m.Config.Generation, m.Term, joining)
	case *pushwal.VoteResponse:
		return fmt.Sprintf("Vote term=%d given=%t flush=%s truncate=%s history=%s%s", m.Term, m.VoteGiven, m.FlushLSN, m.TruncateLSN, showHistory(m.History), showTLI(m.TLIHistory))
	case *pushwal.AppendResponse:
		return fmt.Sprintf("Appended term=%d flush=%s commit=%s", m.Term, m.FlushLSN, m.CommitLSN)
	}
	return fmt.Sprintf("%T", m)
}

// fill is WAL for tests: n bytes that name their term.
func fill(term wal.Term, n int) []byte { return bytes.Repeat([]byte{byte(term)}, n) }

// appendMsg is a well-formed request.
func appendMsg(g pushwal.Generation, term wal.Term, begin wal.LSN, b []byte, commit wal.LSN) *pushwal.AppendRequest {
	return &pushwal.AppendRequest{
		Generation: g, Term: term, Begin: begin, End: begin + wal.LSN(len(b)), CommitLSN: commit,
		TLI: 1, CRC: pushwal.Checksum(b), WAL: b,
	}
}

// must returns the single answer.
func must[M any](t *testing.T) func(out []Outgoing, err error) M {
	return func(out []Outgoing, err error) M {
		t.Helper()
		require.NoError(t, err)
		require.Len(t, out, 1)
		m, ok := out[0].Msg.(M)
		require.True(t, ok, "%T", out[0].Msg)
		return m
	}
}

func greeting() *pushwal.ProposerGreeting {
	return &pushwal.ProposerGreeting{TTID: testID(), PGVersion: 170002, SystemID: 7, SegmentSize: testSegment, TLI: 1, Instance: testInstance}
}

var gen1 = pushwal.Configuration{Generation: 1, Members: members(1, 2, 3)}

func history(pairs ...uint64) (h pushwal.TermHistory) {
	for p := range slices.Chunk(pairs, 2) {
		h = append(h, pushwal.TermLSN{Term: wal.Term(p[0]), LSN: wal.LSN(p[1])})
	}
	return h
}
