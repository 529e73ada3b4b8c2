package replication

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord/walrecordtest"
	"github.com/walhaven/walhaven/wal/walstore"
)

// patience bounds everything that a test waits for.
const patience = time.Minute

var (
	testID       = wal.TTID{Tenant: wal.TenantID{1}, Timeline: wal.TimelineID{2}}
	testInstance = pushwal.Instance{7}
	testBase     = wal.LSN(wal.MinSegmentSize) // start of the first segment
	testStart    = testBase + 40               // first record
)

// gatedLog is a walstore whose syncs and control-file writes can be held back
// or made to fail, and that counts them.
type gatedLog struct {
	*walstore.Store
	syncs   atomic.Int64
	saveErr atomic.Pointer[error]
	syncErr atomic.Pointer[error] // of the next sync
	// synced is called when the next sync has brought WAL to the disk, before anybody hears of it.
	synced atomic.Pointer[func()]
	// appended is called after each append, before the session goes on; nil: nothing is.
	appended func()

	mu    sync.Mutex
	gate  chan struct{} // not nil: Sync waits until it is closed
	trace []string      // what was done, in order
}

func (l *gatedLog) note(op string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trace = append(l.trace, op)
}

// taken returns what was done since the last call.
func (l *gatedLog) taken() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	trace := l.trace
	l.trace = nil
	return trace
}

func (l *gatedLog) Truncate(to wal.LSN, h wal.TimelineHistory) error {
	l.note("truncate " + to.String())
	return l.Store.Truncate(to, h)
}

// Lend lends nothing, but says so of whatever it is asked for: there is no file.
func (l *gatedLog) Lend(at wal.LSN, n int) (walstore.Lent, bool) {
	l.note(fmt.Sprintf("lend %d at %s", n, at))
	return walstore.Lent{}, true
}

func (l *gatedLog) Append(tli wal.TLI, at wal.LSN, data []byte) error {
	l.note("append " + at.String())
	err := l.Store.Append(tli, at, data)
	if l.appended != nil {
		l.appended()
	}
	return err
}

func (l *gatedLog) Sync() error {
	l.note("sync")
	l.syncs.Add(1)
	l.mu.Lock()
	gate := l.gate
	l.mu.Unlock()
	if gate != nil {
		<-gate
	}
	if err := l.syncErr.Swap(nil); err != nil {
		return *err
	}
	err := l.Store.Sync()
	if f := l.synced.Swap(nil); f != nil {
		(*f)()
	}
	return err
}

func (l *gatedLog) SaveControl(edit func(*walstore.Control)) error {
	if err := l.saveErr.Load(); err != nil {
		return *err
	}
	l.note("save")
	return l.Store.SaveControl(edit)
}

// hold makes syncs wait until the function returned is called.
func (l *gatedLog) hold() (release func()) {
	gate := make(chan struct{})
	l.mu.Lock()
	l.gate = gate
	l.mu.Unlock()
	return sync.OnceFunc(func() {
		l.mu.Lock()
		l.gate = nil
		l.mu.Unlock()
		close(gate)
	})
}

// node is an acceptor on a file system in memory.
type node struct {
	*Accepting
	log *gatedLog
}

func newNode(t testing.TB) *node {
	t.Helper()
	members := []pushwal.Member{
		{ID: 1, Host: "a", Port: 1, Incarnation: pushwal.Incarnation{1}},
		{ID: 2, Host: "b", Port: 2, Incarnation: pushwal.Incarnation{2}},
		{ID: 3, Host: "c", Port: 3, Incarnation: pushwal.Incarnation{3}},
	}
	return foundNode(t, consensus.State{
		ID: testID, SystemID: walrecordtest.SystemID, PGVersion: 180000, SegmentSize: wal.MinSegmentSize,
		Start: testStart, Incarnation: pushwal.Incarnation{1}, TLIHistory: wal.TimelineHistory{Last: 1},
		Configuration: pushwal.Configuration{Generation: 1, Members: members},
	})
}

func foundNode(t testing.TB, state consensus.State) *node {
	t.Helper()
	state = consensus.Founding(state)
	encoded, err := state.MarshalBinary()
	require.NoError(t, err)
	store, err := walstore.Create("timeline", walstore.Control{
		ID: state.ID, Name: "main", SystemID: state.SystemID, PGVersion: state.PGVersion,
		SegmentSize: state.SegmentSize, Start: state.Start, History: state.TLIHistory, State: encoded,
	}, walstore.Options{FS: vfs.NewMem()})
	require.NoError(t, err)
	log := &gatedLog{Store: store}
	a, err := NewAccepting(AcceptingOptions{NodeID: 1, Log: log})
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = a.Close(nil)
		require.NoError(t, store.Close())
	})
	return &node{a, log}
}

// proposer is the other end of a session, message by message.
type proposer struct {
	t      testing.TB
	codec  pushwal.Codec
	stream *protocol.CopyStream
	conn   net.Conn
	served chan error // what Serve returned
	cancel context.CancelFunc
}

// connect opens a session of a proposer that speaks codec.
func (n *node) connect(t testing.TB, codec pushwal.Codec) *proposer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	server, err := ln.Accept()
	require.NoError(t, err)
	return n.serve(t, codec, client, server)
}

func (n *node) serve(t testing.TB, codec pushwal.Codec, client, server net.Conn) *proposer {
	ctx, cancel := context.WithCancel(context.Background())
	p := &proposer{t: t, codec: codec, conn: client, served: make(chan error, 1), cancel: cancel}
	p.stream = protocol.NewCopyStream(context.Background(), client, protocol.StreamOptions{})
	go func() {
		stream := protocol.NewCopyStream(ctx, server, protocol.StreamOptions{Server: true})
		p.served <- n.Serve(ctx, stream, PushOptions{Version: codec.Version, Walhaven: codec.Walhaven, Revision: codec.Revision})
		_ = stream.Close()
	}()
	t.Cleanup(func() {
		cancel()
		_ = p.stream.Close()
	})
	return p
}

var ours = pushwal.Codec{Version: pushwal.Version3, Walhaven: true}.Negotiated(pushwal.Revision)

func (p *proposer) send(parts ...[]byte) {
	p.t.Helper()
	require.NoError(p.t, p.stream.Send(parts...))
	require.NoError(p.t, p.stream.Flush())
}

func (p *proposer) receive() []byte {
	p.t.Helper()
	p.stream.SetReadIdle(patience)
	payload, err := p.stream.Receive()
	require.NoError(p.t, err)
	return payload
}

func (p *proposer) greet() *pushwal.AcceptorGreeting {
	p.t.Helper()
	m := &pushwal.ProposerGreeting{
		TTID: testID, PGVersion: 180000, SystemID: walrecordtest.SystemID, SegmentSize: wal.MinSegmentSize, TLI: 1, Instance: testInstance,
	}
	p.send(p.codec.AppendProposerGreeting(nil, m))
	var g pushwal.AcceptorGreeting
	require.NoError(p.t, p.codec.DecodeAcceptorGreeting(p.receive(), &g))
	return &g
}

func (p *proposer) askVote(term wal.Term) {
	p.t.Helper()
	p.send(p.codec.AppendVoteRequest(nil, &pushwal.VoteRequest{Generation: 1, Term: term}))
}

func (p *proposer) vote() *pushwal.VoteResponse {
	p.t.Helper()
	var v pushwal.VoteResponse
	require.NoError(p.t, p.codec.DecodeVoteResponse(p.receive(), &v))
	return &v
}

func (p *proposer) elected(term wal.Term, at wal.LSN, history pushwal.TermHistory) {
	p.t.Helper()
	m := &pushwal.ProposerElected{Generation: 1, Term: term, StartStreamingAt: at, History: history}
	if p.codec.Walhaven {
		m.TLIHistory = wal.TimelineHistory{Last: 1}
	}
	p.send(p.codec.AppendProposerElected(nil, m))
}

// lead takes the session to where it streams in term, from an empty node on.
func (p *proposer) lead(term wal.Term) {
	p.t.Helper()
	p.greet()
	p.askVote(term)
	require.True(p.t, p.vote().VoteGiven)
	p.elected(term, testBase, pushwal.TermHistory{{Term: 0, LSN: testStart}, {Term: term, LSN: testStart}})
}

func (p *proposer) append(term wal.Term, begin wal.LSN, data []byte, commit wal.LSN) {
	p.t.Helper()
	header, part := p.frame(term, begin, data, commit)
	p.send(header, part)
}

// frame is a message in two parts.
func (p *proposer) frame(term wal.Term, begin wal.LSN, data []byte, commit wal.LSN) (header, part []byte) {
	m := &pushwal.AppendRequest{
		Generation: 1, Term: term, Begin: begin, End: begin + wal.LSN(len(data)), CommitLSN: commit,
		TLI: 1, CRC: pushwal.Checksum(data),
	}
	return p.codec.AppendAppendRequestHeader(nil, m), data
}

func (p *proposer) response() *pushwal.AppendResponse {
	p.t.Helper()
	var r pushwal.AppendResponse
	require.NoError(p.t, p.codec.DecodeAppendResponse(p.receive(), &r))
	return &r
}

// result waits for Serve to return.
func (p *proposer) result() error {
	p.t.Helper()
	select {
	case err := <-p.served:
		return err
	case <-time.After(patience):
		p.t.Fatal("the session does not end")
		return nil
	}
}

// someWAL is well-formed WAL from testBase on that ends with a whole record.
func someWAL(n int) []byte { return walOf(n, 200) }

// someOtherWAL is WAL that differs from someWAL's.
func someOtherWAL(n int) []byte { return walOf(n, 300) }

func walOf(n, record int) []byte {
	b := walrecordtest.New(walrecordtest.Options{Start: testBase})
	for int(b.Position()-b.Start()) < n {
		b.Message(record)
	}
	return b.Bytes()
}
