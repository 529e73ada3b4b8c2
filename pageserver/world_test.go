package pageserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/auth"
	"github.com/walhaven/walhaven/baseimport"
	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/internal/pgdata"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// patience is for what must happen sooner or later.
const patience = time.Minute

// origin is a PostgreSQL that was stopped, worked on, and stopped again.
type origin struct {
	install compute.Install
	stopped string // data directory as of the first stop
	last    string // as of the second
	version uint32
	system  wal.SystemID
	redo    wal.LSN           // of the first stop's checkpoint
	relid   string            // tablespace/database/relfilenumber of the table t
	forked  map[string]string // those of the relations of forks_test.go
	wal     []byte            // from redo to end
	end     wal.LSN
	ends    []wal.LSN // of the records
}

func newOrigin(t testing.TB) *origin {
	t.Helper()
	var forked map[string]string
	o := newOriginOf(t, func(server *compute.Server) {
		forked = forkWork(t, server)
		for i := range 10 {
			_, err := server.Psql(context.Background(), "-c", fmt.Sprintf("UPDATE t SET v = 'round %d' WHERE i <= 1500", i))
			require.NoError(t, err)
		}
	})
	o.forked = forked
	return o
}

// newOriginOf does some work between the two stops.
func newOriginOf(t testing.TB, work func(*compute.Server)) *origin {
	t.Helper()
	ctx := context.Background()
	server := computetest.New(t, computetest.Options{Settings: map[string]string{
		"wal_keep_size": "1GB", "autovacuum": "off", "track_commit_timestamp": "on",
	}})
	o := &origin{install: server.Install(), last: server.DataDir(), stopped: filepath.Join(computetest.TempDir(t), "stopped")}
	_, err := server.Psql(ctx, "-c", "CREATE TABLE t (i int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'some text' FROM generate_series(1, 20000) i")
	require.NoError(t, err)
	_, err = server.Psql(ctx, "-c", settled, "-c", "VACUUM (FREEZE) settled")
	require.NoError(t, err)
	o.relid, err = server.QueryValue(ctx, "SELECT '1663/' || oid || '/' || pg_relation_filenode('t') FROM pg_database WHERE datname = 'postgres'")
	require.NoError(t, err)
	text, err := server.QueryValue(ctx, "SHOW server_version_num")
	require.NoError(t, err)
	_, err = fmt.Sscan(text, &o.version)
	require.NoError(t, err)
	require.NoError(t, server.Stop(ctx, compute.Fast))
	out, err := exec.Command("cp", "-a", o.last, o.stopped).CombinedOutput()
	require.NoError(t, err, "%s", out)
	raw, err := os.ReadFile(filepath.Join(o.stopped, "global", "pg_control"))
	require.NoError(t, err)
	control, err := pgdata.ParseControl(raw)
	require.NoError(t, err)
	require.Equal(t, pgdata.ShutDown, control.State)
	o.system, o.redo = control.SystemID, control.Redo

	require.NoError(t, server.Start(ctx, compute.StartOptions{}))
	work(server)
	require.NoError(t, server.Stop(ctx, compute.Fast))
	o.readWAL(t)
	return o
}

func (o *origin) readWAL(t testing.TB) {
	t.Helper()
	const size = wal.DefaultSegmentSize
	r := walrecord.NewReader(walrecord.ScannerOptions{Start: o.redo, SegmentSize: size}, func(_, end wal.LSN, _ []byte) error {
		o.ends = append(o.ends, end)
		return nil
	})
	for at := o.redo; ; at = size.SegmentStart(at) + wal.LSN(size) {
		data, err := os.ReadFile(filepath.Join(o.last, "pg_wal", size.FileName(1, size.SegmentNo(at))))
		if errors.Is(err, os.ErrNotExist) {
			break
		}
		require.NoError(t, err)
		data = data[size.Offset(at):]
		o.wal = append(o.wal, data...)
		if err := r.Feed(at, data); err != nil {
			require.True(t, walrecord.IsEnd(err), "%v", err)
			break
		}
	}
	o.end = r.RecordEnd()
	require.Greater(t, len(o.ends), 1000)
}

func (o *origin) greeting(h wal.TimelineHistory) *pushwal.ProposerGreeting {
	return &pushwal.ProposerGreeting{
		TTID: wal.TTID{Tenant: o.system.TenantID(), Timeline: wal.TimelineID{1}}, PGVersion: o.version, SystemID: o.system,
		SegmentSize: wal.DefaultSegmentSize, NodeID: 1, Name: "main", Start: o.redo, TLIHistory: h,
	}
}

// node is a pageserver in this process.
type node struct {
	t        testing.TB
	o        *origin
	dir      string
	server   *Server
	timeline *timeline
	addr     string
	stop     func()
}

func startNode(t testing.TB, o *origin) *node {
	t.Helper()
	n := &node{t: t, o: o, dir: t.TempDir()}
	n.start()
	t.Cleanup(func() { n.stop() })
	return n
}

func (n *node) start() {
	n.t.Helper()
	c := DefaultConfig()
	c.ID, c.DataDir, c.LSNWaitTimeout = 1, n.dir, 200*time.Millisecond
	var err error
	n.server, err = New(Options{Config: c, Auth: auth.Policy{}, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(n.t, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(n.t, err)
	n.addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.server.Run(ctx, ln) }()
	n.stop = func() {
		cancel()
		require.NoError(n.t, <-done)
		n.stop = func() {}
	}
	n.eventually(func() bool { return n.server.serving.Load() })
	n.timeline, err = n.server.timelines.findOrFound(&protocol.Session{}, n.o.greeting(wal.TimelineHistory{Last: 1}))
	require.NoError(n.t, err)
}

func (n *node) restart() {
	n.stop()
	n.start()
}

func (n *node) eventually(cond func() bool) {
	n.t.Helper()
	require.Eventually(n.t, cond, patience, 5*time.Millisecond)
}

// push brings the origin's WAL up to a position.
func (n *node) push(upto wal.LSN) {
	n.t.Helper()
	for at := max(n.timeline.store.Positions().Write, wal.DefaultSegmentSize.SegmentStart(n.o.redo)); at < upto; {
		end := min(at+pushwal.MaxAppend, upto)
		data := make([]byte, end-at) // What lies before the first record is not looked at.
		if at < n.o.redo {
			end = n.o.redo
			data = n.prefix(at, end)
		} else {
			copy(data, n.o.wal[at-n.o.redo:])
		}
		_, err := n.timeline.take(nil, &pushwal.AppendRequest{
			Begin: at, End: end, CommitLSN: upto, TLI: 1, CRC: pushwal.Checksum(data), WAL: data,
		}, time.Now())
		require.NoError(n.t, err)
		at = end
	}
	require.NoError(n.t, n.timeline.sync())
}

// prefix is the true WAL of the first segment before the first record.
func (n *node) prefix(from, to wal.LSN) []byte {
	const size = wal.DefaultSegmentSize
	data, err := os.ReadFile(filepath.Join(n.o.last, "pg_wal", size.FileName(1, size.SegmentNo(from))))
	require.NoError(n.t, err)
	return data[size.Offset(from):][:to-from]
}

func (n *node) conninfo() string {
	host, port, _ := net.SplitHostPort(n.addr)
	return fmt.Sprintf("host=%s port=%s user=u dbname=d sslmode=disable", host, port)
}

func (n *node) query(sql string) ([]replication.Row, error) {
	return replication.Query(context.Background(), n.conninfo(), sql, replication.DialOptions{})
}

func (n *node) status() replication.Row {
	n.t.Helper()
	rows, err := n.query("TIMELINE_STATUS")
	require.NoError(n.t, err)
	require.Len(n.t, rows, 1)
	return rows[0]
}

// sink sends a backup in an IMPORT.
type sink struct{ *protocol.CopyStream }

func (s sink) Begin(oid uint32, location string) error {
	return s.Send(baseimport.AppendArchive(nil, oid, location))
}
func (s sink) Data(p []byte) error { return s.Send(baseimport.DataHead, p) }

// importBase imports the stopped server's directory; the backup is said to end
// at stop, or is not said to be complete.
func (n *node) importBase(stop wal.LSN, complete bool) error {
	n.t.Helper()
	stream, err := replication.Dial(context.Background(), n.conninfo(), "IMPORT", replication.DialOptions{})
	if err != nil {
		return err
	}
	defer stream.Close() //nolint:errcheck // Its answer was read.
	end, err := baseimport.FromFolder(context.Background(), n.o.stopped, sink{stream})
	require.NoError(n.t, err)
	end.Stop = stop
	if complete {
		require.NoError(n.t, stream.Send(baseimport.AppendEnd(nil, end)))
	}
	require.NoError(n.t, stream.CloseSend())
	if _, err := stream.Receive(); !errors.Is(err, io.EOF) {
		return err
	}
	require.NoError(n.t, stream.Handshake())
	_, err = stream.ReadResult()
	return err
}

// runTool runs one of PostgreSQL's programs and returns what it prints.
func runTool(t testing.TB, program string, args ...string) string {
	t.Helper()
	var stderr strings.Builder
	command := exec.Command(program, args...)
	command.Stderr = &stderr
	out, err := command.Output()
	require.NoError(t, err, stderr.String())
	return string(out)
}
