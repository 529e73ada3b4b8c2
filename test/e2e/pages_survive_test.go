package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/test/cluster"
	"github.com/walhaven/walhaven/test/oracle"
	"github.com/walhaven/walhaven/wal"
)

// storeFaults are the moments of the page store that a pageserver is killed at,
// or at which its disk fails. Which one, and at which of its passings, is drawn for
// each round: the store flushes and merges all the time, so that this is any instant.
var storeFaults = []string{
	"pagestore/layer/write", "pagestore/layer/sync", "pagestore/folder/sync", "pagestore/index/write", "pagestore/index/sync",
	"pagestore/index/link", "pagestore/index/remove", "pagestore/layer/remove", "pagestore/collect/done", "pagestore/open/done",
}

// serverKills are moments besides at which a pageserver is killed: on its way from
// WAL that is pushed to pages that are durable.
var serverKills = []string{
	"pagestore/flush/done", "pagestore/compact/done", "pageserver/store/before", "pageserver/store/after", "pageserver/sync/before",
	"pageserver/sync/after", "pageserver/report/before", "pageserver/report/after",
}

// survivorMemory is what the pageserver may take, in MiB: the least that there is.
const survivorMemory = 192

// smallPageserver makes it flush and compact all the time, and keep little.
var smallPageserver = []string{
	fmt.Sprintf("WALHAVEN_PAGESERVER_MEMORY=%dMiB", survivorMemory), "WALHAVEN_PAGESERVER_RESTORE_WINDOW=2s",
}

// survivor is a cluster whose pageserver has a hard time.
type survivor struct {
	t      *testing.T
	c      *cluster.Cluster
	random *rand.Rand
	kept   []moment
}

// moment is an LSN that is pinned, and what a stock server has that stopped there.
type moment struct {
	lsn     wal.LSN
	kinds   oracle.Kinds
	stopped string
}

// A pageserver that is killed at each step of its store, whose fsyncs fail, that
// compacts and collects garbage behind a window of two seconds, has the pages
// that a stock server has; a damaged layer is an error and never a wrong page. Pages
// are compared at the end and after random rounds before, at WALHAVEN_ORACLE_LSNS
// moments in all.
func TestPagesSurviveKillsAndFaults(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("WALHAVEN_SURVIVE_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("WALHAVEN_SURVIVE_SEED=%d", seed)
	s := &survivor{t: t, c: cluster.New(t, cluster.Options{}), random: rand.New(rand.NewPCG(seed, 1))}
	_, err := s.c.Server.Pgbench(context.Background(), "-i", "-q", "-s", "2")
	require.NoError(t, err)
	died, rounds, lsns := 0, roundsOf(t, "WALHAVEN_SURVIVE_ROUNDS"), roundsOf(t, "WALHAVEN_ORACLE_LSNS")
	chosen := s.random.Perm(rounds)[:min(max(lsns-1, 0), rounds)]
	for round := range rounds {
		if s.round(round) {
			died++
		}
		if slices.Contains(chosen, round) {
			s.keep()
		}
	}
	t.Logf("%d of %d rounds ended at their fail point", died, rounds)
	s.bulk()
	s.stop()
	s.c.Kill("pageserver-1")
	s.c.Start("pageserver-1", smallPageserver...)
	for _, m := range s.kept {
		result := s.compare(m)
		t.Logf("at %s: %s", m.lsn, result)
		require.Zero(t, result.Differ+result.Refused, result.String())
		require.Greater(t, result.Blocks, 4000)
	}
	s.damage()
}

// round runs a workload against a pageserver with one fault, and kills it in the
// end if that did not; it says whether the fault did.
func (s *survivor) round(n int) (died bool) {
	action, points := "kill", storeFaults
	switch s.random.IntN(4) {
	case 0:
		action = "error"
	case 1:
		points = serverKills
	}
	nth := 1 + s.random.IntN(1<<s.random.IntN(5)) // Mostly early, and up to the 16th.
	rule := fmt.Sprintf("%s@%d=%s", points[s.random.IntN(len(points))], nth, action)
	s.t.Logf("round %d: %s", n, rule)
	s.c.Kill("pageserver-1")
	s.c.StartUnready("pageserver-1", append([]string{"WALHAVEN_FAILPOINTS=" + rule}, smallPageserver...)...)
	s.work(n)
	target := s.now()
	s.c.Eventually("the pageserver dies, fails or has all", func() bool {
		if died = s.c.PID("pageserver-1") == 0; died {
			return true
		}
		applied, reason := s.pages()
		return applied >= target || reason != ""
	})
	if pid := s.c.PID("pageserver-1"); pid != 0 {
		_ = syscall.Kill(pid, syscall.SIGKILL) // It may be dying at its point just now.
	}
	s.c.Eventually("the pageserver is gone", func() bool { return s.c.PID("pageserver-1") == 0 })
	s.c.Start("pageserver-1", smallPageserver...)
	return died
}

// pages is how far the pageserver's pages are, 0 while it does not say, and why
// they do not go on.
func (s *survivor) pages() (applied wal.LSN, reason string) {
	rows, err := replication.Query(context.Background(), pageserverConninfo(s.t, s.c), "TIMELINE_STATUS", replication.DialOptions{})
	if err != nil || len(rows) != 1 {
		return 0, ""
	}
	if applied, err = rows[0].LSN("applied_lsn"); err != nil {
		applied = 0
	}
	return applied, rows[0]["pages_reason"]
}

func (s *survivor) now() wal.LSN {
	s.t.Helper()
	return computetest.LSN(s.t, s.c.Server, "SELECT pg_current_wal_insert_lsn()")
}

// work writes some 20 MB of WAL of many kinds.
func (s *survivor) work(n int) {
	s.t.Helper()
	ctx := context.Background()
	_, err := s.c.Server.Pgbench(ctx, "-c", "3", "-t", "100", "-n")
	require.NoError(s.t, err)
	name := fmt.Sprintf("w%d", n)
	for _, sql := range []string{
		fmt.Sprintf("DROP TABLE IF EXISTS w%d", max(n-1, 0)),
		"CREATE TABLE " + name + " (i int PRIMARY KEY, v text)",
		"INSERT INTO " + name + " SELECT i, repeat(md5(i::text), 8) FROM generate_series(1, 30000) i",
		"UPDATE " + name + " SET v = 'x' WHERE i % 3 = 0", "DELETE FROM " + name + " WHERE i > 20000", "VACUUM " + name, "CREATE DATABASE d" + name, "CHECKPOINT",
		"UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid % 10 = 0", "VACUUM pgbench_accounts",
	} {
		_, err := s.c.Server.Psql(ctx, "-c", sql)
		require.NoError(s.t, err, sql)
	}
}

// bulk writes WAL as fast as it goes; the pageserver keeps up within the memory
// that it may take.
func (s *survivor) bulk() {
	s.t.Helper()
	from := s.now()
	for i := range 3 {
		_, err := s.c.Server.Psql(context.Background(), "-c",
			fmt.Sprintf("CREATE TABLE bulk%d AS SELECT i, repeat(md5(i::text), 20) AS v FROM generate_series(1, 60000) i", i))
		require.NoError(s.t, err)
	}
	target := s.now()
	s.c.Eventually("the pageserver has all", func() bool {
		applied, _ := s.pages()
		return applied >= target
	})
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.c.PID("pageserver-1")))
	require.NoError(s.t, err)
	var peak int
	_, rest, found := strings.Cut(string(status), "VmHWM:")
	require.True(s.t, found)
	_, err = fmt.Sscan(rest, &peak)
	require.NoError(s.t, err)
	s.t.Logf("%d MB of WAL at once: the pageserver took %d of %d MiB", (target-from)>>20, peak>>10, survivorMemory)
	require.Less(s.t, peak>>10, survivorMemory)
	_, err = s.c.Server.Psql(context.Background(), "-c", "DROP TABLE bulk0, bulk1, bulk2")
	require.NoError(s.t, err)
}

// keep pins a moment; the window goes on.
func (s *survivor) keep() {
	s.t.Helper()
	ctx := context.Background()
	_, err := s.c.Server.Pgbench(ctx, "-c", "2", "-t", strconv.Itoa(1+s.random.IntN(100)), "-n")
	require.NoError(s.t, err)
	m := moment{kinds: oracle.Catalog(s.t, s.c.Server), lsn: s.now()}
	s.c.Eventually("a moment is pinned", func() bool {
		applied, _ := s.pages()
		_, err := replication.Query(ctx, pageserverConninfo(s.t, s.c), fmt.Sprintf("PIN 'oracle%d' AT '%s'", len(s.kept), m.lsn), replication.DialOptions{})
		if err == nil {
			return true
		}
		if applied > m.lsn {
			m.lsn = s.now() // The window has left the moment behind.
		}
		// WAL has to go on where the moment lies behind the header of a new page.
		_ = s.c.Server.Exec(ctx, "SELECT txid_current()") // Or at the next attempt.
		return false
	})
	s.kept = append(s.kept, m)
}

// stop pins the last moment, lets a stock server stop at each, and the window go
// on beyond them.
func (s *survivor) stop() {
	s.t.Helper()
	ctx := context.Background()
	_, err := s.c.Server.Psql(ctx, "-c", "CHECKPOINT")
	require.NoError(s.t, err)
	s.keep()
	_, err = s.c.Server.Pgbench(ctx, "-c", "2", "-T", "4", "-n")
	require.NoError(s.t, err)
	for i := range s.kept {
		s.kept[i].stopped = stoppedAt(s.t, s.c, s.kept[i].lsn)
	}
	s.c.Eventually("the window leaves the moments behind", func() bool {
		rows, err := replication.Query(ctx, pageserverConninfo(s.t, s.c), "SHOW WINDOW", replication.DialOptions{})
		if err != nil || len(rows) != 1 {
			return false
		}
		oldest, err := rows[0].LSN("oldest_lsn")
		return err == nil && oldest > s.kept[len(s.kept)-1].lsn
	})
}

func (s *survivor) compare(m moment) oracle.Result {
	s.t.Helper()
	return oracle.Compare(s.t, m.stopped, m.kinds,
		oracle.Stream(s.t, pageserverConninfo(s.t, s.c), wal.TTID{Tenant: s.c.Tenant, Timeline: s.c.Timeline}, m.lsn))
}

// damage flips bits all over each layer file, where pages are and not the sizes
// before or the special files behind them: what a damaged block held is refused.
func (s *survivor) damage() {
	layers, err := filepath.Glob(filepath.Join(s.c.Pageservers[0].DataDir, "pages", s.c.Timeline.String(), "*.layer"))
	require.NoError(s.t, err)
	require.NotEmpty(s.t, layers)
	s.c.Kill("pageserver-1")
	for _, path := range layers {
		content, err := os.ReadFile(path)
		require.NoError(s.t, err)
		for at := len(content) * 2 / 5; at < len(content)*4/5; at += 1 + s.random.IntN(32<<10) {
			content[at] ^= 1 << s.random.IntN(8)
		}
		require.NoError(s.t, os.WriteFile(path, content, 0o600))
	}
	s.c.StartUnready("pageserver-1", smallPageserver...)
	var result oracle.Result
	s.c.Eventually("the pageserver answers", func() bool {
		_, err := replication.Query(context.Background(), pageserverConninfo(s.t, s.c), "SHOW PINS", replication.DialOptions{})
		return err == nil
	})
	result = s.compare(s.kept[len(s.kept)-1])
	s.t.Logf("%d layers damaged: %d answers refused of %d blocks; the first: %.300s",
		len(layers), result.Refused, result.Blocks, strings.Join(result.Differences, "; "))
	require.Positive(s.t, result.Refused)
	require.Zero(s.t, result.Differ, "wrong pages: %s", result)
}
