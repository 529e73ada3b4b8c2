package safekeeper_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/wal"
)

// realOrigin is the WAL of a PostgreSQL that did some work over several small
// segments; ends are the flush positions after each piece of work.
//
// first, if not nil, is called before the work.
func realOrigin(t *testing.T, first func(*compute.Server)) (*compute.Server, *origin) {
	t.Helper()
	server := computetest.New(t, computetest.Options{SegmentSize: 1 << 20, Settings: map[string]string{
		"wal_keep_size": "512MB", "fsync": "off", "wal_level": "replica", "max_wal_senders": "4",
	}})
	value := func(sql string) string {
		t.Helper()
		v, err := server.QueryValue(t.Context(), sql)
		require.NoError(t, err)
		return v
	}
	lsn := func(sql string) wal.LSN {
		t.Helper()
		l, err := wal.ParseLSN(value(sql))
		require.NoError(t, err)
		return l
	}
	o := &origin{segment: 1 << 20}
	require.NoError(t, server.Exec(t.Context(), "CHECKPOINT; CREATE TABLE t(i int primary key, s text)"))
	o.start = lsn("SELECT redo_lsn FROM pg_control_checkpoint()")
	if first != nil {
		first(server)
	}
	for i := range 4 {
		require.NoError(t, server.Exec(t.Context(),
			"INSERT INTO t SELECT g, repeat(md5(g::text), 10) FROM generate_series("+strconv.Itoa(i*3000)+","+strconv.Itoa(i*3000+2999)+") g"))
		o.ends = append(o.ends, lsn("SELECT pg_current_wal_flush_lsn()"))
	}
	id, err := wal.ParseSystemID(value("SELECT system_identifier FROM pg_control_system()"))
	require.NoError(t, err)
	version, err := strconv.ParseUint(value("SHOW server_version_num"), 10, 32)
	require.NoError(t, err)
	o.systemID, o.version = id, uint32(version)
	o.from = o.segment.SegmentStart(o.start)
	for no := o.segment.SegmentNo(o.start); o.segment.Start(no) < o.end(); no++ {
		b, err := os.ReadFile(filepath.Join(server.DataDir(), "pg_wal", o.segment.FileName(1, no)))
		require.NoError(t, err)
		o.data = append(o.data, b...)
	}
	o.data = o.data[:o.end()-o.from]
	return server, o
}

// tool runs a PostgreSQL client program against n, with nothing but host and
// port.
func tool(t *testing.T, server *compute.Server, n *node, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd, err := server.Tool(ctx, name, args...)
	require.NoError(t, err)
	host, port, err := net.SplitHostPort(n.addr)
	require.NoError(t, err)
	cmd.Env = append(cmd.Env, "PGHOST="+host, "PGPORT="+port)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func commitAll(t *testing.T, o *origin, members ...*node) {
	t.Helper()
	for _, n := range members {
		p := propose(t, n, o, 1, nil)
		p.append(o.end(), 0)
		p.waitFlush(o.end())
		p.append(o.end(), o.end())
		n.waitLSN("commit_lsn", o.end())
	}
}

func TestRealWALThroughRealTools(t *testing.T) {
	server, o := realOrigin(t, nil)
	sk := startSafekeeper(t, 1, nil)
	o.found(t, []*node{sk})
	commitAll(t, o, sk)

	t.Run("psql", func(t *testing.T) {
		out, err := tool(t, server, sk, "psql", "-XAtq", "-c", "SHOW server_version_num", "-c", "SHOW wal_segment_size",
			"-c", "SELECT 1", "-c", "SHOW TIMELINES")
		require.NoError(t, err, out)
		lines := strings.Split(out, "\n")
		require.Equal(t, []string{strconv.Itoa(int(o.version)), "1MB", "1"}, lines[:3])
		require.Contains(t, lines[3], "|main|active|")

		out, err = tool(t, server, sk, "psql", "-X", "-c", "TIMELINE_STATS")
		require.Error(t, err)
		require.Contains(t, out, "TIMELINE_STATUS", "the nearest command is named")
	})
	t.Run("pg_receivewal", func(t *testing.T) {
		dir := filepath.Join(computetest.TempDir(t), "wal")
		require.NoError(t, os.Mkdir(dir, 0o777))
		require.NoError(t, os.Chmod(dir, 0o777))
		out, err := tool(t, server, sk, "pg_receivewal", "--slot", "tool", "--create-slot", "--if-not-exists", "-D", dir)
		require.NoError(t, err, out)
		// The slot reserves nothing yet, so that the tool would begin at the end;
		// a position is reserved first, as a consumer with an old copy has it.
		require.Equal(t, "f", sk.mustQuery("SHOW SLOTS")[0]["active"])
		seedSegment(t, server, dir, o)
		out, err = tool(t, server, sk, "pg_receivewal", "--slot", "tool", "-D", dir, "--no-loop", "--synchronous",
			"--endpos", (o.end() - 1).String()) // it ends once it has received more than that
		require.NoError(t, err, out)
		requireSameSegments(t, server, dir, o)
		slot := sk.mustQuery("SHOW SLOTS")[0]
		require.NotEqual(t, "0/0", slot["restart_lsn"])
		out, err = tool(t, server, sk, "pg_receivewal", "--slot", "tool", "--drop-slot")
		require.NoError(t, err, out)
		require.Empty(t, sk.mustQuery("SHOW SLOTS"))
	})
	t.Run("pg_waldump", func(t *testing.T) {
		dir := filepath.Join(computetest.TempDir(t), "segments")
		require.NoError(t, os.Mkdir(dir, 0o755))
		copySegments(t, sk, dir)
		out, err := tool(t, server, sk, "pg_waldump", "-q", "-p", dir, "-s", o.start.String(), "-e", o.end().String())
		require.NoError(t, err, out)
	})
}

// seedSegment gives pg_receivewal the first whole segment, behind which it goes
// on.
func seedSegment(t *testing.T, server *compute.Server, dir string, o *origin) {
	t.Helper()
	name := o.segment.FileName(1, o.segment.SegmentNo(o.start))
	b, err := os.ReadFile(filepath.Join(server.DataDir(), "pg_wal", name))
	require.NoError(t, err)
	path := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(path, b, 0o666))
	account, err := compute.RunAs()
	require.NoError(t, err)
	require.NoError(t, account.Own(path))
}

// requireSameSegments compares every whole segment with PostgreSQL's own.
func requireSameSegments(t *testing.T, server *compute.Server, dir string, o *origin) {
	t.Helper()
	compared := 0
	for no := o.segment.SegmentNo(o.start); o.segment.Start(no+1) <= o.end(); no++ {
		name := o.segment.FileName(1, no)
		want, err := os.ReadFile(filepath.Join(server.DataDir(), "pg_wal", name))
		require.NoError(t, err)
		got, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, want, got, name)
		compared++
	}
	require.Greater(t, compared, 2)
}

// copySegments copies the safekeeper's own files under PostgreSQL's names.
func copySegments(t *testing.T, sk *node, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(sk.dir, testID.Tenant.String(), testID.Timeline.String(), "0000*"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, f := range files {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, strings.TrimSuffix(filepath.Base(f), ".partial")), b, 0o644))
	}
}

// A stock standby made from the primary's base backup follows a safekeeper
// through a slot and answers queries.
func TestStandbyFollowsSafekeeper(t *testing.T) {
	dir := filepath.Join(computetest.TempDir(t), "standby")
	server, o := realOrigin(t, func(s *compute.Server) {
		require.NoError(t, s.BaseBackup(t.Context(), dir, "-X", "none"))
	})
	require.NoError(t, server.Stop(t.Context(), compute.Immediate))
	sk := startSafekeeper(t, 1, nil)
	o.found(t, []*node{sk})
	p := propose(t, sk, o, 1, nil)
	feed := func(end wal.LSN) {
		p.append(end, 0)
		p.waitFlush(end)
		p.append(end, end)
	}
	feed(o.ends[1])
	_, err := sk.query("CREATE_REPLICATION_SLOT stb PHYSICAL RESERVE_WAL")
	require.NoError(t, err)

	host, port, err := net.SplitHostPort(sk.addr)
	require.NoError(t, err)
	standby := computetest.Open(t, server.Install(), dir, map[string]string{
		"primary_conninfo":  "host=" + host + " port=" + port + " user=standby sslmode=disable",
		"primary_slot_name": "stb", "hot_standby_feedback": "on", "wal_receiver_status_interval": "1s",
	})
	require.NoError(t, standby.WriteFile("standby.signal", nil))
	require.NoError(t, standby.Start(t.Context(), compute.StartOptions{}))
	count := func() string {
		v, err := standby.QueryValue(t.Context(), "SELECT count(*) FROM t")
		if err != nil {
			return err.Error()
		}
		return v
	}
	require.Eventually(t, func() bool { return count() == "6000" }, patience, 50*time.Millisecond)
	feed(o.end())
	require.Eventually(t, func() bool { return count() == "12000" }, patience, 50*time.Millisecond)
	require.Eventually(t, func() bool {
		rows := sk.mustQuery("SHOW SLOTS")
		at, err := wal.ParseLSN(rows[0]["restart_lsn"])
		return err == nil && at == o.end() && rows[0]["active"] == "t"
	}, patience, 50*time.Millisecond, "the slot moves with what the standby flushed")
	_, err = sk.query("DROP_REPLICATION_SLOT stb")
	require.ErrorContains(t, err, "is active for PID")
	require.NoError(t, standby.Stop(t.Context(), compute.Fast))
}
