package walproposer_test

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
	"github.com/walhaven/walhaven/walproposer"
)

func (w *world) early() walproposer.Options {
	o := w.options()
	o.EarlyPush = walproposer.EarlyPushOn
	return o
}

// lsn asks PostgreSQL.
func (w *world) lsn(sql string) wal.LSN {
	w.t.Helper()
	text, err := w.pg.QueryValue(w.ctx(), sql)
	require.NoError(w.t, err)
	l, err := wal.ParseLSN(text)
	require.NoError(w.t, err)
	return l
}

// awaitEarly waits until WAL is pushed early, for which it commits rows from
// 100000 on: each gives a chance to be faster than PostgreSQL's stream.
func (w *world) awaitEarly(p *proposer) {
	w.t.Helper()
	for before := p.counter(earlyBytes); p.counter(earlyBytes) == before; w.spare++ {
		require.NoError(w.t, w.insert(100000+w.spare))
	}
}

const earlyBytes = "walhaven_walproposer_early_bytes_total"

// segmentFile is the file that holds WAL at l.
func segmentFile(dir string, l wal.LSN) string {
	return filepath.Join(dir, "pg_wal", wal.DefaultSegmentSize.FileName(1, wal.DefaultSegmentSize.SegmentNo(l)))
}

// written is a server that writes WAL long before it flushes it.
var written = computetest.Options{Settings: map[string]string{
	"wal_buffers": "64kB", "wal_writer_delay": "10s", "wal_writer_flush_after": "1GB", "autovacuum": "off", "checkpoint_timeout": "1h",
}}

// The quorum has WAL before PostgreSQL has flushed it. When the machine crashes
// then, PostgreSQL's disk is behind: check says so, and following the safekeepers
// brings everything back, what was acknowledged first of all.
func TestEarlyPushIsAheadOfPostgreSQLsDisk(t *testing.T) {
	t.Parallel()
	w := newWorld(t, written)
	p := w.propose(w.early())
	p.streams()
	w.demandQuorum()
	w.awaitEarly(p)
	require.NoError(t, w.insert(1))

	c, err := w.pg.Connect(w.ctx(), "postgres")
	require.NoError(t, err)
	defer c.Close(w.ctx()) //nolint:errcheck // Its server is killed.
	_, err = c.Exec(w.ctx(), "BEGIN").ReadAll()
	require.NoError(t, err)
	quorum, flushed := wal.LSN(0), wal.LSN(0)
	// Now and then PostgreSQL's WAL writer flushes all the same: then it is tried again.
	for rows := 300; quorum <= flushed; rows += 300 {
		w.awaitEarly(p)
		// It is more than PostgreSQL's buffers, so that some of it is written; no more than
		// is pushed early.
		_, err := c.Exec(w.ctx(), fmt.Sprintf("INSERT INTO t SELECT i, repeat('y', 200) FROM generate_series(%d, %d) i", -rows, -rows+299)).ReadAll()
		require.NoError(t, err)
		flushed = w.lsn("SELECT pg_current_wal_flush_lsn()")
		require.Eventually(t, func() bool { return p.Status().CommitLSN > flushed }, patience, 5*time.Millisecond, "nothing is pushed early")
		quorum = p.Status().CommitLSN
		flushed = w.lsn("SELECT pg_current_wal_flush_lsn()") // asked later, and still lower
	}
	t.Logf("the quorum has %s, PostgreSQL has flushed %s", quorum, flushed)

	// The machine crashes: nothing behind the flush reached the disk.
	require.NoError(t, w.pg.Kill())
	p.stop()
	path := segmentFile(w.pg.DataDir(), flushed)
	off := int64(wal.DefaultSegmentSize.Offset(flushed))
	require.NoError(t, os.Truncate(path, off))
	require.NoError(t, os.Truncate(path, int64(wal.DefaultSegmentSize)))
	v := w.checks(w.pg.DataDir(), walproposer.StartStandby)
	require.Less(t, v.Own, v.Quorum)
	w.followAndPromote(v, quorum)
	n, err := w.pg.QueryValue(w.ctx(), "SELECT count(*) FROM t WHERE i = 1")
	require.NoError(t, err)
	require.Equal(t, "1", n)
	n, err = w.pg.QueryValue(w.ctx(), "SELECT count(*) FROM t WHERE i < 0")
	require.NoError(t, err)
	require.Equal(t, "0", n, "it never committed")
	q := w.propose(w.early())
	q.streams()
	require.NoError(t, w.insert(2))
	q.stop()
}

// settle closes the end of WAL, and returns it: what a minority has behind the last
// commit is part of it or not. Without that a standby may not get it.
func (w *world) settle() wal.LSN {
	w.t.Helper()
	end, err := walproposer.Sync(w.ctx(), walproposer.SyncOptions{
		Safekeepers: w.addresses(), Tenant: w.id.Tenant, Timeline: w.id.Timeline, Logger: testLogger(w.t),
	})
	require.NoError(w.t, err)
	return end
}

// followAndPromote starts the world's server as a standby of the safekeepers, and
// promotes it when it has all, what was committed first of all.
func (w *world) followAndPromote(v *walproposer.Verdict, committed wal.LSN) {
	w.t.Helper()
	end := w.settle()
	require.GreaterOrEqual(w.t, end, committed)
	conninfo, err := walproposer.StandbyConninfo(w.addresses(), "standby", "", v.Timeline)
	require.NoError(w.t, err)
	require.NoError(w.t, walproposer.WriteStandby(w.pg.DataDir(), conninfo))
	require.NoError(w.t, w.pg.Start(w.ctx(), compute.StartOptions{}))
	require.Eventually(w.t, func() bool { return w.lsn("SELECT pg_last_wal_replay_lsn()") >= end }, patience, 20*time.Millisecond)
	_, err = w.pg.Query(w.ctx(), "SELECT pg_promote()")
	require.NoError(w.t, err)
}

// forge writes a record into PostgreSQL's file that PostgreSQL did not make: whole,
// linked and with its checksum, where the next one belongs. It returns its end, and
// leaves PostgreSQL stopped: its background writer must not be faster.
func (w *world) forge(p *proposer) wal.LSN {
	w.t.Helper()
	var at wal.LSN
	var path string
	var content []byte
	require.Eventually(w.t, func() bool { // Room on the page, and nothing in the buffers or the file.
		at = w.lsn("SELECT pg_current_wal_insert_lsn()")
		if off := at - at.PageStart(); off < walrecord.LongPageHeaderSize || off >= wal.BlockSize-200 {
			require.NoError(w.t, w.insert(int(at%1e6)+200000))
			return false
		}
		if at != w.lsn("SELECT pg_current_wal_flush_lsn()") || at != p.Status().HeadLSN {
			return false
		}
		require.NoError(w.t, w.pg.Signal(syscall.SIGSTOP, true))
		path = segmentFile(w.pg.DataDir(), at)
		var err error
		content, err = os.ReadFile(path)
		require.NoError(w.t, err)
		if binary.LittleEndian.Uint32(content[wal.DefaultSegmentSize.Offset(at):]) == 0 {
			return true
		}
		require.NoError(w.t, w.pg.Signal(syscall.SIGCONT, true))
		return false
	}, patience, 10*time.Millisecond)
	start := wal.DefaultSegmentSize.SegmentStart(at)
	s := walrecord.NewScanner(walrecord.ScannerOptions{Start: start, SegmentSize: wal.DefaultSegmentSize})
	require.NoError(w.t, s.Feed(start, content[:at-start]))
	require.Equal(w.t, at, s.RecordEnd())

	rec := make([]byte, 40) // XLOG_NOOP with a few bytes of data
	le := binary.LittleEndian
	le.PutUint32(rec, 40)
	le.PutUint64(rec[8:], uint64(s.LastRecord()))
	rec[16] = 0x20
	copy(rec[24:], append([]byte{255, 14}, "not PostgreSQL"...))
	crc := crc32.MakeTable(crc32.Castagnoli)
	le.PutUint32(rec[20:], crc32.Update(crc32.Update(0, crc, rec[24:]), crc, rec[:20]))
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(w.t, err)
	_, err = f.WriteAt(rec, int64(at-start))
	require.NoError(w.t, err)
	require.NoError(w.t, f.Close())
	return at + 40
}

// What was pushed early and is not what PostgreSQL sends ends the walproposer, and
// the safekeepers' copy is not continued.
func TestEarlyPushedWALMustBeSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, written)
	p := w.propose(w.early())
	p.streams()
	w.demandQuorum()
	w.awaitEarly(p)
	end := w.forge(p)
	require.Eventually(t, func() bool { return p.Status().CommitLSN >= end }, patience, 5*time.Millisecond,
		"the forged record is not told from PostgreSQL's own")
	require.NoError(t, w.pg.Signal(syscall.SIGCONT, true))
	done := w.begin(1)
	err := p.wait()
	var r *walproposer.Refusal
	require.ErrorAs(t, err, &r)
	require.Contains(t, r.Reason, "sends other WAL at")
	require.Contains(t, r.Reason, end.String())
	require.NoError(t, w.pg.Stop(w.ctx(), compute.Immediate))
	<-done
	_, err = w.check(w.pg.DataDir())
	require.ErrorAs(t, err, &r, "the quorum has what PostgreSQL does not")
}

// Under load, with PostgreSQL killed in between and segments switched, what is
// pushed early is what is sent, and most of it is.
func TestEarlyPushUnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	p := w.propose(w.early())
	p.streams()
	w.demandQuorum()
	w.awaitEarly(p)
	acked := 0
	for round := range 3 {
		var group sync.WaitGroup
		var mu sync.Mutex
		for client := range 4 {
			group.Go(func() {
				for i := range 60 {
					if w.pg.Exec(w.ctx(), fmt.Sprintf("INSERT INTO t VALUES (%d, repeat('x', %d))", round*1000+client*100+i, i*40)) != nil {
						return
					}
					mu.Lock()
					acked++
					mu.Unlock()
				}
			})
		}
		w.exec("SELECT pg_logical_emit_message(true, 'long', repeat('m', 6000000))") // beyond one read, and the lead
		w.exec("SELECT pg_switch_wal()")
		w.exec("CREATE TABLE IF NOT EXISTS big AS SELECT i, repeat('z', 2000) FROM generate_series(1, 5000) i")
		group.Wait()
		if round < 2 {
			require.NoError(t, w.pg.Kill())
			require.NoError(t, w.pg.Start(w.ctx(), compute.StartOptions{}))
			require.Eventually(t, func() bool { ok, _ := p.health.Status(); return ok }, patience, 10*time.Millisecond)
		}
	}
	n, err := w.pg.QueryValue(w.ctx(), "SELECT count(*) FROM t WHERE i < 100000")
	require.NoError(t, err)
	require.Equal(t, fmt.Sprint(acked), n)
	early, received := p.counter(earlyBytes), p.counter("walhaven_walproposer_received_bytes_total")
	t.Logf("%.0f of %.0f bytes were pushed early", early, received)
	w.endsWithTheQuorum(p)
}

// endsWithTheQuorum stops the server in order, whose WAL the quorum has to its end.
func (w *world) endsWithTheQuorum(p *proposer) {
	w.t.Helper()
	require.NoError(w.t, w.pg.Stop(w.ctx(), compute.Fast))
	p.stop()
	v := w.checks(w.pg.DataDir(), walproposer.StartPrimary)
	require.Equal(w.t, v.Own, v.Quorum)
}

// A bulk load comes by the stream, as without early push, though PostgreSQL writes it
// long before it flushes it; the commits behind it are pushed early again.
func TestBulkLoadComesByTheStream(t *testing.T) {
	t.Parallel()
	w := newWorld(t, written)
	p := w.propose(w.early())
	p.streams()
	w.demandQuorum()
	w.awaitEarly(p)
	early, received := p.counter(earlyBytes), p.counter("walhaven_walproposer_received_bytes_total")
	w.exec("CREATE TABLE big AS SELECT i, repeat('z', 2000) FROM generate_series(1, 15000) i")
	early, received = p.counter(earlyBytes)-early, p.counter("walhaven_walproposer_received_bytes_total")-received
	require.Greater(t, received, 30e6)
	require.Less(t, early, received/8)
	t.Logf("%.0f of %.0f bytes were pushed early", early, received)
	w.awaitEarly(p)
	w.endsWithTheQuorum(p)
}

// Without being told to, WAL is pushed early only of a server that was started behind a
// check that may prepare its directory.
func TestEarlyPushBehindACheck(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	o := w.options()
	o.EarlyPush = walproposer.EarlyPushChecked
	without := func(row int) {
		p := w.propose(o)
		p.streams()
		w.demandQuorum()
		for i := range 50 { // Each would have its chance.
			require.NoError(t, w.insert(row+i))
		}
		require.Zero(t, p.counter(earlyBytes)+p.counter("walhaven_walproposer_early_push_on"))
		require.NoError(t, w.pg.Stop(w.ctx(), compute.Fast))
		p.stop()
	}
	check := func(args ...string) {
		var out strings.Builder
		require.NoError(t, start(w.ctx(), &out, testWriter{t}, append([]string{
			"check", "--takeover", "--pgdata", w.pg.DataDir(),
			"--safekeepers", strings.Join(w.addresses(), ","), "--tenant-id", w.id.Tenant.String(), "--timeline", w.id.Timeline.String(),
		}, args...)...))
		require.Contains(t, out.String(), "primary:")
		require.NoError(t, w.pg.Start(w.ctx(), compute.StartOptions{}))
	}
	without(0)
	check("--write-standby") // Nobody said that it may have to be promoted.
	without(100)
	check("--write-standby", "--allow-early-push")
	p := w.propose(o)
	p.streams()
	w.awaitEarly(p)
	p.stop()
}

// Where pg_wal is not at hand the stream does everything.
func TestEarlyPushWithoutTheFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	text, err := os.ReadFile(filepath.Join(w.pg.DataDir(), "postmaster.pid"))
	require.NoError(t, err)
	lines := strings.Split(string(text), "\n")
	lines[2] = "1" // as if another server ran here
	require.NoError(t, os.WriteFile(filepath.Join(w.pg.DataDir(), "postmaster.pid"), []byte(strings.Join(lines, "\n")), 0o600))
	p := w.propose(w.early())
	p.streams()
	w.demandQuorum()
	for i := range 100 { // Each would have its chance.
		require.NoError(t, w.insert(i))
	}
	require.Zero(t, p.counter(earlyBytes)+p.counter("walhaven_walproposer_early_push_on"))
	p.stop()
	lines[2] = strings.Split(string(text), "\n")[2]
	require.NoError(t, os.WriteFile(filepath.Join(w.pg.DataDir(), "postmaster.pid"), []byte(strings.Join(lines, "\n")), 0o600))
}
