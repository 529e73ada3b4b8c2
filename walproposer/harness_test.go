package walproposer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/walhaven/walhaven/auth"
	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/internal/ownthread"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/safekeeper"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/walproposer"
)

// TestMain is also the main of the processes that the tests' walproposers start.
func TestMain(m *testing.M) {
	if code, child := walproposer.ChildMain(); child {
		os.Exit(code)
	}
	computetest.Watch()
	ownthread.Allow(8) // As the programs have it, where walproposer and safekeepers are one process.
	goleak.VerifyTestMain(m)
}

// inProcess says in which of its two forms the suite runs the walproposer: as
// processes in plain builds, as goroutines where fail points and the race
// detector look on; WALHAVEN_TEST_IN_PROCESS=true or false decides otherwise.
func inProcess() bool {
	if v, err := strconv.ParseBool(os.Getenv("WALHAVEN_TEST_IN_PROCESS")); err == nil {
		return v
	}
	return invariant.Enabled
}

// childLog is what the walproposer's child processes write.
func childLog() daemon.LogConfig {
	if testing.Verbose() {
		return daemon.LogConfig{LogLevel: "info"}
	}
	return daemon.LogConfig{LogLevel: "error"}
}

// patience is far above what anything here takes on a busy machine.
const patience = 60 * time.Second

func testLogger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	if testing.Verbose() {
		w.t.Log(strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

// keeper is a safekeeper in this process that can be ended and run again on its
// address and data directory.
type keeper struct {
	t      testing.TB
	id     uint64
	dir    string
	addr   string
	policy auth.Policy
	login  string // of a connection string; "" where everybody is trusted
	logins *logins
	cancel context.CancelFunc
	done   chan error
}

// logins remembers how the sessions of a keeper logged in.
type logins struct {
	auth.Policy
	methods sync.Map // by the client's address
}

func (l *logins) Authenticate(ctx context.Context, s *protocol.Session, ex protocol.Exchange) (protocol.Identity, error) {
	i, err := l.Policy.Authenticate(ctx, s, ex)
	l.methods.Store(s.Remote.String(), i.Method)
	return i, err
}

// loopbacks counts the addresses that ownLoopback gave.
var loopbacks atomic.Uint32

// ownLoopback is an address of 127/8 that no other keeper has: while a keeper is
// down, no other test can be given its port.
func ownLoopback() string {
	n := loopbacks.Add(1)
	return fmt.Sprintf("127.%d.%d.%d", 1+os.Getpid()%254, n>>8&0xff, n&0xff)
}

func newKeeper(t testing.TB, id uint64, edit ...func(*keeper)) *keeper {
	k := &keeper{t: t, id: id, dir: t.TempDir(), addr: ownLoopback() + ":0", policy: auth.Policy{Tokens: auth.NewTokens()}}
	for _, e := range edit {
		e(k)
	}
	k.up()
	t.Cleanup(k.down)
	return k
}

func (k *keeper) up() {
	k.t.Helper()
	var ln net.Listener
	require.Eventually(k.t, func() (ok bool) {
		var err error
		ln, err = net.Listen("tcp", k.addr)
		return err == nil
	}, patience, 10*time.Millisecond)
	k.addr = ln.Addr().String()
	c := safekeeper.DefaultConfig()
	c.ID, c.DataDir = k.id, k.dir
	c.HeadlessAfter = 0 // terms are the walproposer's alone to change
	k.logins = &logins{Policy: k.policy}
	s, err := safekeeper.New(safekeeper.Options{Config: c, Auth: k.logins, Tokens: k.policy.Tokens, Logger: testLogger(k.t).With("sk", k.id)})
	require.NoError(k.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	k.cancel, k.done = cancel, make(chan error, 1)
	go func() { k.done <- s.Run(ctx, ln) }()
}

// down ends it; a second call does nothing.
func (k *keeper) down() {
	k.t.Helper()
	if k.cancel == nil {
		return
	}
	k.cancel()
	k.cancel = nil
	select {
	case err := <-k.done:
		require.NoError(k.t, err)
	case <-time.After(patience):
		k.t.Fatal("the safekeeper did not end")
	}
}

// world is a server, three safekeepers and a founded timeline.
type world struct {
	t       testing.TB
	pg      *compute.Server
	keepers []*keeper
	id      wal.TTID
	spare   int // rows that awaitEarly has committed
}

func newWorld(t testing.TB, o computetest.Options, edit ...func(*keeper)) *world {
	t.Helper()
	w := &world{t: t, pg: computetest.New(t, o), id: wal.TTID{Tenant: wal.TenantID{1: 7}, Timeline: wal.TimelineID{2: 9}}}
	for id := range uint64(3) {
		w.keepers = append(w.keepers, newKeeper(t, id+1, edit...))
	}
	w.found()
	w.exec("CREATE TABLE t (i int PRIMARY KEY, v text)")
	return w
}

func (w *world) addresses() (out []string) {
	for _, k := range w.keepers {
		out = append(out, k.address())
	}
	return out
}

// address is how it is reached: host:port, or a connection string.
func (k *keeper) address() string {
	if k.login == "" {
		return k.addr
	}
	return k.conninfo()
}

func (k *keeper) conninfo() string {
	host, port, err := net.SplitHostPort(k.addr)
	require.NoError(k.t, err)
	return "host=" + host + " port=" + port + k.login
}

// query asks it about the world's timeline.
func (k *keeper) query(w *world, sql string) ([]replication.Row, error) {
	return replication.Query(w.ctx(), k.conninfo(), sql, replication.DialOptions{Params: map[string]string{
		"options": fmt.Sprintf("-c tenant_id=%s -c timeline_id=%s", w.id.Tenant, w.id.Timeline),
	}})
}

func (w *world) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	w.t.Cleanup(cancel)
	return ctx
}

func (w *world) found() {
	w.t.Helper()
	require.NoError(w.t, walproposer.Found(w.ctx(), walproposer.FoundOptions{
		Postgres: w.pg.Conninfo(), Safekeepers: w.addresses(), Tenant: w.id.Tenant, Timeline: w.id.Timeline,
		Progress: func(line string) { _, _ = testWriter{w.t}.Write([]byte(line)) },
	}))
}

func (w *world) exec(sql string) {
	w.t.Helper()
	require.NoError(w.t, w.pg.Exec(w.ctx(), sql))
}

// demandQuorum makes commits wait.
func (w *world) demandQuorum() {
	w.t.Helper()
	require.NoError(w.t, w.pg.Set(w.ctx(), map[string]string{"synchronous_standby_names": "walhaven"}))
}

// insert commits a row and returns when that is acknowledged.
func (w *world) insert(i int) error {
	return w.pg.Exec(w.ctx(), fmt.Sprintf("INSERT INTO t VALUES (%d, repeat('x', 100))", i))
}

// begin commits a row in the background.
func (w *world) begin(i int) <-chan error {
	done := make(chan error, 1)
	ctx := w.ctx()
	go func() { done <- w.pg.Exec(ctx, fmt.Sprintf("INSERT INTO t VALUES (%d, 'x')", i)) }()
	return done
}

func (w *world) stillWaits(done <-chan error) {
	w.t.Helper()
	select {
	case err := <-done:
		w.t.Fatalf("the commit was acknowledged without a quorum (%v)", err)
	case <-time.After(500 * time.Millisecond):
	}
}

// proposer is a walproposer in this process.
type proposer struct {
	*walproposer.Walproposer
	t      testing.TB
	health *daemon.Health
	reg    *prometheus.Registry
	cancel context.CancelFunc
	done   chan error
}

// counter reads one of its metrics.
func (p *proposer) counter(name string) float64 {
	p.t.Helper()
	families, err := p.reg.Gather()
	require.NoError(p.t, err)
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetCounter().GetValue() + m.GetGauge().GetValue() // It is one of them.
		}
	}
	p.t.Fatalf("no metric %s", name)
	return 0
}

func (w *world) options() walproposer.Options {
	o := walproposer.Options{
		Postgres: w.pg.Conninfo(), Safekeepers: w.addresses(), Tenant: w.id.Tenant, Timeline: w.id.Timeline.String(),
		TakeoverAfter: time.Second, InProcess: inProcess(),
	}
	switch os.Getenv("WALHAVEN_TEST_EARLY_PUSH") {
	case "true":
		o.EarlyPush = walproposer.EarlyPushOn
	case "false":
		o.EarlyPush = walproposer.EarlyPushOff
	}
	return o
}

func (w *world) propose(o walproposer.Options) *proposer {
	w.t.Helper()
	p := &proposer{t: w.t, health: daemon.NewHealth(), reg: prometheus.NewPedanticRegistry(), done: make(chan error, 1)}
	var err error
	p.Walproposer, err = walproposer.New(o, walproposer.Deps{
		Logger: testLogger(w.t), Registerer: p.reg, Health: p.health, Log: childLog(),
	})
	require.NoError(w.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go func() { p.done <- p.Run(ctx) }()
	w.t.Cleanup(func() { p.cancel(); p.wait() })
	return p
}

// wait returns what Run returned; it may be called again.
func (p *proposer) wait() error {
	p.t.Helper()
	select {
	case err := <-p.done:
		p.done <- err
		return err
	case <-time.After(patience):
		p.t.Error("the walproposer did not end")
		return errors.New("did not end")
	}
}

func (p *proposer) stop() {
	p.t.Helper()
	p.cancel()
	require.NoError(p.t, p.wait())
}

// streams waits until commits are acknowledged.
func (p *proposer) streams() {
	p.t.Helper()
	require.Eventually(p.t, func() bool { return p.Status().State == "streaming" }, patience, 5*time.Millisecond,
		"%+v", func() any { return p.Status() })
}

// terms are the safekeepers' terms, none of which is about to change: either all
// have the term of whoever writes, or nobody who asked for one is connected any
// more and nobody has WAL of it to take over from another. A walproposer goes on, or
// ends, when a majority has heard of its term.
func (w *world) terms() (out []wal.Term) {
	w.t.Helper()
	require.Eventually(w.t, func() bool {
		quiet := true
		for _, k := range w.keepers {
			rows, err := k.query(w, "SHOW RECEIVERS")
			quiet = quiet && err == nil && len(rows) == 0
		}
		out = nil
		all := w.statuses()
		for _, s := range all {
			out = append(out, s.Term)
			for _, peer := range all {
				_, learns := consensus.Learn(s.Look(0), peer.Look(0))
				quiet = quiet && !learns
			}
		}
		return quiet || len(slices.Compact(slices.Clone(out))) <= 1
	}, patience, 10*time.Millisecond)
	return out
}

func (w *world) statuses() []replication.Status { return w.statusesOf(0, 1, 2) }

// statusesOf asks some of the safekeepers. A timeline that is missing gives no
// entry.
func (w *world) statusesOf(which ...int) (out []replication.Status) {
	w.t.Helper()
	for _, i := range which {
		k := w.keepers[i]
		rows, err := k.query(w, "TIMELINE_STATUS")
		var missing *pgconn.PgError
		if errors.As(err, &missing) && missing.Code == "42704" {
			continue
		}
		require.NoError(w.t, err)
		if len(rows) == 0 {
			continue
		}
		s, err := replication.ParseStatus(rows[0])
		require.NoError(w.t, err)
		out = append(out, s)
	}
	return out
}
