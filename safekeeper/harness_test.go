package safekeeper_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/walhaven/walhaven/auth"
	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/pageserver"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/safekeeper"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord/walrecordtest"
)

func TestMain(m *testing.M) {
	computetest.Watch()
	goleak.VerifyTestMain(m)
}

// patience is far above what anything here takes on a busy machine.
const patience = time.Minute

var testID = wal.TTID{
	Tenant:   wal.TenantID{0: 0xaa, 15: 1},
	Timeline: wal.TimelineID{0: 0xbb, 15: 2},
}

// process is a component that runs in this process and can be ended and run
// again on its address and data directory.
type process struct {
	t      *testing.T
	addr   string
	start  func(ln net.Listener) (run func(context.Context) error)
	cancel context.CancelFunc
	done   chan error
}

func (p *process) up() {
	p.t.Helper()
	var ln net.Listener
	require.Eventually(p.t, func() (ok bool) {
		var err error
		ln, err = net.Listen("tcp", p.addr)
		return err == nil
	}, patience, 10*time.Millisecond)
	run := p.start(ln)
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel, p.done = cancel, make(chan error, 1)
	go func() { p.done <- run(ctx) }()
}

// down ends the component in order; a second call does nothing.
func (p *process) down() {
	p.t.Helper()
	if p.cancel == nil {
		return
	}
	p.cancel()
	p.cancel = nil
	select {
	case err := <-p.done:
		require.NoError(p.t, err)
	case <-time.After(patience):
		p.t.Fatal("the component did not end")
	}
}

func (p *process) restart() { p.down(); p.up() }

// node is a safekeeper or a pageserver under test.
type node struct {
	*process
	id     uint64
	dir    string
	server *safekeeper.Server // of a safekeeper
	fs     vfs.FS             // of a safekeeper's WAL; nil: the operating system's
	drain  time.Duration      // of a safekeeper's pushes when it ends; 0: as usual

	password string // empty: trusted
	health   *daemon.Health
	metrics  *prometheus.Registry
}

func logger(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	if testing.Verbose() {
		w.t.Log(strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

func startPageserver(t *testing.T, id uint64, edit ...func(*pageserver.Config)) *node {
	t.Helper()
	n, dir := &node{id: id}, t.TempDir()
	n.dir = dir
	n.process = &process{t: t, addr: freeAddr(t), start: func(ln net.Listener) func(context.Context) error {
		n.health, n.metrics = daemon.NewHealth(), prometheus.NewPedanticRegistry()
		c := pageserver.DefaultConfig()
		c.ID, c.DataDir = id, dir
		for _, e := range edit {
			e(&c)
		}
		s, err := pageserver.New(pageserver.Options{
			Config: c, Auth: auth.Policy{}, Logger: logger(t).With("ps", id), Health: n.health, Registerer: n.metrics,
		})
		require.NoError(t, err)
		return func(ctx context.Context) error { return s.Run(ctx, ln) }
	}}
	n.up()
	t.Cleanup(n.down)
	return n
}

func startSafekeeper(t *testing.T, id uint64, edit func(*safekeeper.Config)) *node {
	t.Helper()
	n, dir := &node{id: id}, t.TempDir()
	n.dir = dir
	n.process = &process{t: t, addr: freeAddr(t), start: func(ln net.Listener) func(context.Context) error {
		n.health, n.metrics = daemon.NewHealth(), prometheus.NewPedanticRegistry()
		c := safekeeper.DefaultConfig()
		c.ID, c.DataDir, c.ListenHTTP = id, dir, ""
		c.MinFreeDisk = 1
		c.HeadlessAfter = 0 // the tests' proposers are silent for as long as they like
		if edit != nil {
			edit(&c)
		}
		s, err := safekeeper.New(safekeeper.Options{
			Config: c, Auth: auth.Policy{}, Logger: logger(t).With("sk", id), Health: n.health, Registerer: n.metrics, FS: n.fs, PushDrain: n.drain,
		})
		require.NoError(t, err)
		n.server = s
		return func(ctx context.Context) error { return s.Run(ctx, ln) }
	}}
	n.up()
	t.Cleanup(n.down)
	return n
}

func (n *node) conninfo() string {
	host, port, _ := net.SplitHostPort(n.addr)
	if n.password != "" {
		secret := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(n.password)
		return fmt.Sprintf("host=%s port=%s user=walhaven password='%s' dbname=test sslmode=disable", host, port, secret)
	}
	return fmt.Sprintf("host=%s port=%s user=test dbname=test sslmode=disable", host, port)
}

func (n *node) options() replication.DialOptions {
	return replication.DialOptions{Params: map[string]string{
		"options": fmt.Sprintf("-c tenant_id=%s -c timeline_id=%s", testID.Tenant, testID.Timeline),
	}}
}

func (n *node) query(sql string) ([]replication.Row, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return replication.Query(ctx, n.conninfo(), sql, n.options())
}

func (n *node) mustQuery(sql string) []replication.Row {
	n.t.Helper()
	rows, err := n.query(sql)
	require.NoError(n.t, err, sql)
	return rows
}

func (n *node) lsn(column string) wal.LSN {
	rows, err := n.query("TIMELINE_STATUS")
	if err != nil || len(rows) != 1 {
		return 0
	}
	lsn, _ := rows[0].LSN(column)
	return lsn
}

func (n *node) waitLSN(column string, at wal.LSN) {
	n.t.Helper()
	require.Eventually(n.t, func() bool { return n.lsn(column) >= at }, patience, 20*time.Millisecond,
		"%s of node %d does not reach %s", column, n.id, at)
}

// origin is a stream of WAL to push.
type origin struct {
	systemID wal.SystemID
	version  uint32
	segment  wal.SegmentSize
	start    wal.LSN // first record
	from     wal.LSN // position of data[0], a segment's start
	data     []byte
	ends     []wal.LSN // some record ends, rising; the last one is the end of data
}

func (o *origin) end() wal.LSN { return o.ends[len(o.ends)-1] }

func (o *origin) bytes(r wal.Range) []byte { return o.data[r.Start-o.from : r.End-o.from] }

// builtOrigin makes WAL of about n bytes with records of many sizes.
func builtOrigin(t *testing.T, n int) *origin {
	t.Helper()
	const segment = 1 << 20
	o := &origin{systemID: 7_000_000_000_000_000_001, version: 150020, segment: segment}
	b := walrecordtest.New(walrecordtest.Options{
		Start: 3 * segment, SegmentSize: segment, Major: 15, SystemID: o.systemID, TLI: 1,
	})
	size := 40
	for len(b.Bytes()) < n {
		start, end := b.Message(size)
		if o.start == 0 {
			o.start = start
		}
		o.ends = append(o.ends, end)
		size = 40 + (size*7+13)%9000
	}
	o.from = b.Start()
	o.data = b.Bytes()
	o.data = o.data[:o.end()-o.from]
	return o
}

// found founds the timeline on the members.
func (o *origin) found(t *testing.T, members []*node, on ...*node) {
	t.Helper()
	if on == nil {
		on = members
	}
	for _, n := range on {
		n.mustQuery(o.create(members, ""))
	}
}

// create is the command that founds the timeline, with more options.
func (o *origin) create(members []*node, more string) string {
	m := asMembers(members)
	return fmt.Sprintf(`CREATE TIMELINE %s %s (name 'main', system_id '%d', pg_version '%d', wal_segment_size '%d', start_lsn '%s', members '%s', incarnations '%s'%s)`,
		testID.Tenant, testID.Timeline, o.systemID, o.version, o.segment, o.start, replication.FormatMembers(m), replication.FormatIncarnations(m), more)
}

// asMembers are the nodes as a membership names them.
func asMembers(nodes []*node) (members []pushwal.Member) {
	for _, n := range nodes {
		incarnation, err := pushwal.ParseIncarnation(n.mustQuery("SHOW NODE")[0]["incarnation"])
		require.NoError(n.t, err)
		a, err := netip.ParseAddrPort(n.addr)
		require.NoError(n.t, err)
		members = append(members, pushwal.Member{ID: pushwal.NodeID(n.id), Host: a.Addr().String(), Port: a.Port(), Incarnation: incarnation})
	}
	return members
}

// proposer speaks to one safekeeper as the winner of an election would.
type proposer struct {
	t        *testing.T
	stream   *protocol.CopyStream
	codec    pushwal.Codec
	o        *origin
	term     wal.Term
	pos      wal.LSN
	history  wal.TimelineHistory
	truncate wal.LSN // 0 = the origin's start
	instance pushwal.Instance
	cancel   context.CancelFunc

	mu    sync.Mutex
	last  pushwal.AppendResponse
	ended error
	done  chan struct{}
}

// dialProposer opens a session and greets.
func dialProposer(t *testing.T, n *node, o *origin, term wal.Term) *proposer {
	t.Helper()
	return dialProposerTLI(t, n, o, term, 1)
}

func dialProposerTLI(t *testing.T, n *node, o *origin, term wal.Term, tli wal.TLI) *proposer {
	t.Helper()
	return greet(t, n, o, term, pushwal.ProposerGreeting{TLI: tli})
}

// greet opens a session with a greeting that the origin fills.
func greet(t *testing.T, n *node, o *origin, term wal.Term, greeting pushwal.ProposerGreeting) *proposer {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	options := n.options()
	options.MaxFrame = pushwal.MaxMessage
	stream, err := replication.Dial(ctx, n.conninfo(),
		"START_WAL_PUSH (proto_version '3', walhaven '1', allow_timeline_creation 'false')", options)
	if err != nil {
		cancel()
	}
	require.NoError(t, err)
	p := &proposer{
		t: t, stream: stream, o: o, term: term, cancel: cancel, history: wal.TimelineHistory{Last: 1}, instance: pushwal.Instance{1, byte(term)},
		codec: pushwal.Codec{Version: pushwal.Version3, Walhaven: true}, done: make(chan struct{}),
	}
	greeting.TTID, greeting.PGVersion, greeting.SystemID, greeting.SegmentSize = testID, o.version, o.systemID, o.segment
	greeting.Instance = p.instance
	p.send(p.codec.AppendProposerGreeting(nil, &greeting))
	var hello pushwal.AcceptorGreeting
	require.NoError(t, p.codec.DecodeAcceptorGreeting(p.receive(), &hello))
	require.NotNil(t, hello.Options)
	return p
}

func (p *proposer) vote() pushwal.VoteResponse {
	p.t.Helper()
	p.send(p.codec.AppendVoteRequest(nil, &pushwal.VoteRequest{Generation: 1, Term: p.term}))
	var vote pushwal.VoteResponse
	require.NoError(p.t, p.codec.DecodeVoteResponse(p.receive(), &vote))
	require.Equal(p.t, p.term, vote.Term)
	return vote
}

// voteOnly wins the node's vote and is never elected; the result ends it.
func voteOnly(t *testing.T, n *node, o *origin, term wal.Term) (end func()) {
	t.Helper()
	p := dialProposer(t, n, o, term)
	p.vote()
	go p.listen()
	t.Cleanup(p.close)
	return p.close
}

// propose wins term on n: greeting, vote, elected. history is that of the terms
// before it with its own, nil for the node's own with the new term behind it. It may
// be there already: on a busy machine a node learns WAL of it from another member
// before its own proposer comes.
func propose(t *testing.T, n *node, o *origin, term wal.Term, history pushwal.TermHistory) *proposer {
	t.Helper()
	p := dialProposer(t, n, o, term)
	vote := p.vote()
	p.pos = vote.FlushLSN
	if p.pos == o.start {
		p.pos = o.from
	}
	if history == nil {
		history = append(pushwal.TermHistory{}, vote.History...)
		if n := len(history); n == 0 || history[n-1].Term != term {
			history = append(history, pushwal.TermLSN{Term: term, LSN: vote.FlushLSN})
		}
	}
	p.send(p.codec.AppendProposerElected(nil, &pushwal.ProposerElected{
		Generation: 1, Term: term, StartStreamingAt: p.pos, History: history, TLIHistory: wal.TimelineHistory{Last: 1},
	}))
	go p.listen()
	t.Cleanup(p.close)
	return p
}

func (p *proposer) send(parts ...[]byte) {
	p.t.Helper()
	require.NoError(p.t, p.stream.Send(parts...))
	require.NoError(p.t, p.stream.Flush())
}

func (p *proposer) receive() []byte {
	p.t.Helper()
	msg, err := p.stream.Receive()
	require.NoError(p.t, err)
	return msg
}

func (p *proposer) listen() {
	defer close(p.done)
	for {
		msg, err := p.stream.Receive()
		p.mu.Lock()
		if err != nil {
			p.ended = err
			p.mu.Unlock()
			return
		}
		_ = p.codec.DecodeAppendResponse(msg, &p.last)
		p.mu.Unlock()
	}
}

// append sends WAL up to end together with the commit position.
func (p *proposer) append(end, commit wal.LSN) {
	p.t.Helper()
	for first := true; first || p.pos < end; first = false {
		next := min(end, p.pos+pushwal.MaxAppend)
		tli := p.history.TLIAt(p.pos)
		if sw, _, ok := p.history.SwitchPoint(tli); ok {
			next = min(next, sw)
		}
		data := p.o.bytes(wal.Range{Start: p.pos, End: max(next, p.pos)})
		m := pushwal.AppendRequest{
			Generation: 1, Term: p.term, Begin: p.pos, End: p.pos + wal.LSN(len(data)),
			CommitLSN: commit, TruncateLSN: max(p.truncate, p.o.start), TLI: tli, CRC: pushwal.Checksum(data), WAL: data,
		}
		p.send(p.codec.AppendAppendRequestHeader(nil, &m), data)
		p.pos = m.End
	}
}

func (p *proposer) waitFlush(at wal.LSN) {
	p.t.Helper()
	require.Eventually(p.t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		require.NoError(p.t, p.ended)
		return p.last.FlushLSN >= at
	}, patience, 5*time.Millisecond)
}

func (p *proposer) close() {
	p.cancel()
	_ = p.stream.Close()
	<-p.done
}
