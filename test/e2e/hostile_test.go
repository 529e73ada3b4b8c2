package e2e

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/test/cluster"
)

// ports are all that a running cluster listens on, by what is behind them.
func ports(c *cluster.Cluster) map[string]string {
	return map[string]string{
		"safekeeper": c.Safekeepers[0].PG, "safekeeper HTTP": c.Safekeepers[0].HTTP,
		"pageserver": c.Pageservers[0].PG, "pageserver HTTP": c.Pageservers[0].HTTP,
		"walproposer HTTP": c.Walproposer.HTTP,
	}
}

// commits writes row after row and remembers how long each COMMIT took.
type commits struct {
	stop context.CancelFunc
	done chan struct{}
	mu   sync.Mutex
	took []time.Duration
	err  error
}

func startCommits(t *testing.T, c *cluster.Cluster) *commits {
	t.Helper()
	require.NoError(t, c.Server.Exec(t.Context(), "CREATE TABLE hostile (v text)"))
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	w := &commits{stop: cancel, done: make(chan struct{})}
	conn, err := c.Server.Connect(ctx, "postgres")
	require.NoError(t, err)
	go func() {
		defer close(w.done)
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		for ctx.Err() == nil {
			began := time.Now()
			_, err := conn.Exec(context.WithoutCancel(ctx), "INSERT INTO hostile VALUES (repeat('x', 500))").ReadAll()
			w.mu.Lock()
			w.took, w.err = append(w.took, time.Since(began)), err
			w.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return w
}

// more waits for n further commits and returns how long they took, sorted.
func (w *commits) more(t *testing.T, n int) []time.Duration {
	t.Helper()
	w.mu.Lock()
	from := len(w.took)
	w.mu.Unlock()
	var out []time.Duration
	cluster.Eventually(t, "commits go on", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		require.NoError(t, w.err)
		out = slices.Clone(w.took[from:])
		return len(out) >= n
	})
	slices.Sort(out)
	return out
}

// p99 of sorted durations.
func p99(d []time.Duration) time.Duration { return d[len(d)*99/100].Round(10 * time.Microsecond) }

// memory is what a process has resident, now or at its peak, in MiB.
func memory(t *testing.T, pid int, field string) int {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if value, found := strings.CutPrefix(lines.Text(), field+":"); found {
			kib, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
			require.NoError(t, err)
			return kib >> 10
		}
	}
	t.Fatalf("no %s of process %d", field, pid)
	return 0
}

// hostile is a set of connections that end together.
type hostile struct {
	t     *testing.T
	stop  chan struct{}
	group sync.WaitGroup
	conns []net.Conn
}

func newHostile(t *testing.T) *hostile { return &hostile{t: t, stop: make(chan struct{})} }

func (h *hostile) end() {
	close(h.stop)
	for _, c := range h.conns {
		_ = c.Close()
	}
	h.group.Wait()
}

func (h *hostile) dial(addr string) net.Conn {
	h.t.Helper()
	c, err := net.Dial("tcp", addr)
	require.NoError(h.t, err)
	h.conns = append(h.conns, c)
	return c
}

// bySecond does something each second until the end, or it fails.
func (h *hostile) bySecond(f func(i int) error) {
	h.group.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for i := 0; f(i) == nil; i++ {
			select {
			case <-h.stop:
				return
			case <-tick.C:
			}
		}
	})
}

// slow writes and reads a byte a second.
func (h *hostile) slow(addr string, request []byte) {
	in, out := h.dial(addr), h.dial(addr)
	h.bySecond(func(i int) error { _, err := in.Write(request[i%len(request):][:1]); return err })
	_, _ = out.Write(request)
	h.bySecond(func(int) error { _, err := out.Read(make([]byte, 1)); return err })
}

// startup is the first message of a client.
func startup(params ...string) []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 4), 3<<16)
	for _, p := range params {
		b = append(append(b, p...), 0)
	}
	b = append(b, 0)
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	return b
}

// rejected sends bytes and wants the connection closed, perhaps after an
// ErrorResponse of a few hundred bytes.
func rejected(t *testing.T, addr, name string, request []byte) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	go func() { _, _ = c.Write(request) }() // it may be cut off in the middle
	require.NoError(t, c.SetReadDeadline(time.Now().Add(cluster.Deadline)))
	answer, err := io.ReadAll(io.LimitReader(c, 64<<10))
	if err != nil {
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "%s: it was neither answered nor closed", name)
	}
	require.Less(t, len(answer), 8<<10, name)
}

// TestHostilePeers has strangers do to every port of a running cluster what
// strangers do. Nobody is kept out, nothing grows, commits go on.
func TestHostilePeers(t *testing.T) {
	c := cluster.New(t, cluster.Options{})
	pids := map[string]int{"safekeeper-1": 0, "pageserver-1": 0, "walproposer": 0}
	for name := range pids {
		pids[name] = c.PID(name)
	}
	w := startCommits(t, c)
	w.more(t, 200)
	before := w.more(t, 500)
	calm := map[string]int{}
	for name, pid := range pids {
		calm[name] = memory(t, pid, "VmRSS")
	}
	report := func(what string) {
		t.Helper()
		during := w.more(t, 200)
		t.Logf("%s: commit p99 %s (before %s)", what, p99(during), p99(before))
		for name, pid := range pids {
			require.Equal(t, pid, c.PID(name), "%s is the process that it was", name)
			t.Logf("  %s: %d MiB resident (before %d), peak %d", name, memory(t, pid, "VmRSS"), calm[name], memory(t, pid, "VmHWM"))
		}
	}
	t.Run("garbage", func(t *testing.T) { garbage(t, c) })
	report("garbage")
	t.Run("2 GiB lengths behind the login", func(t *testing.T) { longFrames(t, c) })
	report("2 GiB lengths")

	h := newHostile(t)
	for name, addr := range ports(c) {
		for range 20 {
			h.dial(addr)                                               // half open
			_, _ = h.dial(addr).Write([]byte{0, 0})                    // and in the middle of a length
			h.slow(addr, startup("user", "walhaven", "database", "x")) // a byte a second
		}
		if strings.HasSuffix(name, "HTTP") {
			for range 20 {
				h.slow(addr, []byte("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"))
			}
		}
	}
	slowReceivers(t, c, h)
	served(t, c)
	report("half-open connections and a byte a second")
	h.end()

	for name, addr := range ports(c) {
		idle(t, c, name, addr, report)
	}
	for name, pid := range pids {
		require.Less(t, memory(t, pid, "VmHWM"), calm[name]+256, "%s: MiB", name)
	}
	w.stop()
	<-w.done
	require.NoError(t, w.err)
	out, code := c.Walhaven("check")
	require.Zero(t, code, out)
}

// garbage is refused at every port.
func garbage(t *testing.T, c *cluster.Cluster) {
	random := make([]byte, 64<<10)
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // Garbage, the same each time.
	for i := range random {
		random[i] = byte(r.Uint32())
	}
	random[0] |= 0x80 // a length that no start-up packet has
	long := startup("user", "walhaven")
	for name, addr := range ports(c) {
		http11 := "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
		for what, request := range map[string][]byte{
			"random": random, "HTTP": []byte(http11), "zeros": make([]byte, 4096), "TLS": append([]byte{0x16, 3, 1, 2, 0}, random[:600]...),
			"2 GiB start-up packet":    binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, 1<<31-1), 3<<16),
			"4 GiB password":           append(slices.Clone(long), 'p', 0xff, 0xff, 0xff, 0xff),
			"a command before a login": append(slices.Clone(long), "Q\x00\x00\x00\x09HELP\x00"...),
		} {
			if !strings.HasSuffix(name, "HTTP") || what == "HTTP" || what == "random" {
				rejected(t, addr, name+": "+what, request)
			}
		}
	}
}

// login opens a session on a port with the cluster's password.
func login(t *testing.T, c *cluster.Cluster, addr, replicating string) (*replication.Client, error) {
	t.Helper()
	return replication.Connect(t.Context(), conninfo(t, c, addr), replication.DialOptions{Timeout: cluster.Deadline, Params: map[string]string{
		"replication": replicating, "options": fmt.Sprintf("-c tenant_id=%s -c timeline_id=%s", c.Tenant, c.Timeline),
	}})
}

func conninfo(t *testing.T, c *cluster.Cluster, addr string) string {
	t.Helper()
	password, err := os.ReadFile(c.PasswordFile)
	require.NoError(t, err)
	host, port, _ := strings.Cut(addr, ":")
	return fmt.Sprintf("host=%s port=%s user=walhaven password=%s dbname=x", host, port, strings.TrimSpace(string(password)))
}

// longFrames sends lengths of 2 GiB behind a login, between commands and inside of
// streams.
func longFrames(t *testing.T, c *cluster.Cluster) {
	for _, command := range []string{
		"", "START_REPLICATION 0/0 TIMELINE 1",
		"START_WAL_PUSH (proto_version '3', walhaven '1', allow_timeline_creation 'false')",
	} {
		for _, tag := range "dQ" {
			config, err := pgconn.ParseConfig(conninfo(t, c, c.Safekeepers[0].PG) + " sslmode=disable")
			require.NoError(t, err)
			config.RuntimeParams["replication"] = "true"
			config.RuntimeParams["options"] = fmt.Sprintf("-c tenant_id=%s -c timeline_id=%s", c.Tenant, c.Timeline)
			conn, err := pgconn.ConnectConfig(t.Context(), config)
			require.NoError(t, err)
			raw := conn.Conn()
			var request []byte
			if command != "" {
				request = append(binary.BigEndian.AppendUint32([]byte{'Q'}, uint32(len(command)+5)), command+"\x00"...)
			}
			request = append(request, byte(tag), 0x7f, 0xff, 0xff, 0xff)
			_, err = raw.Write(append(request, make([]byte, 1024)...))
			require.NoError(t, err)
			require.NoError(t, raw.SetReadDeadline(time.Now().Add(cluster.Deadline)))
			_, err = io.Copy(io.Discard, raw) // what it had to say, and then the end
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "%q %c", command, tag)
			_ = raw.Close()
		}
	}
}

// slowReceivers follow the WAL and read a byte a second.
func slowReceivers(t *testing.T, c *cluster.Cluster, h *hostile) {
	t.Helper()
	for range 8 {
		client, err := login(t, c, c.Safekeepers[0].PG, "true")
		require.NoError(t, err)
		rows, err := client.Query(t.Context(), "IDENTIFY_SYSTEM")
		require.NoError(t, err)
		stream, _, err := client.Stream(t.Context(), "START_REPLICATION "+rows[0]["xlogpos"]+" TIMELINE 1")
		require.NoError(t, err)
		h.group.Go(func() { <-h.stop; _ = stream.Close() }) // it never receives
	}
}

// served wants that whoever is entitled gets in and is answered.
func served(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	for name, addr := range ports(c) {
		if strings.HasSuffix(name, "HTTP") {
			cluster.Eventually(t, name+" is ready", func() bool {
				code, _ := cluster.Get(t, "http://"+addr+"/readyz")
				return code == http.StatusOK
			})
			continue
		}
		client, err := login(t, c, addr, "false")
		require.NoError(t, err, name)
		_, err = client.Query(t.Context(), "SHOW TIMELINES")
		require.NoError(t, err, name)
		require.NoError(t, client.Close())
	}
}

// idle opens 2,000 connections that say nothing.
func idle(t *testing.T, c *cluster.Cluster, name, addr string, report func(string)) {
	t.Helper()
	const crowd = 2000
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	if limit.Cur < crowd+200 {
		t.Skipf("only %d files may be open here", limit.Cur)
	}
	h := newHostile(t)
	for range crowd {
		h.dial(addr)
	}
	served(t, c)
	report(fmt.Sprintf("%d idle connections to %s", crowd, name))
	h.end()
}
