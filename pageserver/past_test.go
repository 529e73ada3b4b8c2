package pageserver

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/wal"
)

// history is what a server says happened.
type history struct {
	times   map[uint32]time.Time // of commits, as track_commit_timestamp tells them
	order   []uint32             // xids as pg_waldump lists their commits
	aborted uint32
	oids    map[string]string
}

const pastWork = `
CREATE SCHEMA shop; CREATE TABLE shop.orders (i int PRIMARY KEY, v text); INSERT INTO shop.orders SELECT i, 'x' FROM generate_series(1, 500) i;
CREATE TABLE emptied (i int); INSERT INTO emptied SELECT generate_series(1, 500);
CREATE TABLE rewritten (i int PRIMARY KEY); INSERT INTO rewritten SELECT generate_series(1, 500);
CREATE TABLE kept (i int); CREATE TABLE "Odd.Name" (i int); INSERT INTO "Odd.Name" VALUES (1);
CREATE TABLE reloaded (i int); INSERT INTO reloaded VALUES (1); CREATE TABLE hollow (i int); INSERT INTO hollow VALUES (1); DELETE FROM hollow;
CREATE VIEW shown AS SELECT * FROM emptied; CREATE TYPE pair AS (a int, b int); CREATE MATERIALIZED VIEW summed AS SELECT 1 AS one;
CREATE FOREIGN DATA WRAPPER w; CREATE SERVER far FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE distant (i int) SERVER far;
CREATE TABLE parted (i int) PARTITION BY RANGE (i); CREATE TABLE parted_a PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE parted_b PARTITION OF parted FOR VALUES FROM (10) TO (30) PARTITION BY RANGE (i); CREATE TABLE parted_b1 PARTITION OF parted_b FOR VALUES FROM (10) TO (20);
CREATE TABLE parted_b2 PARTITION OF parted_b FOR VALUES FROM (20) TO (30); INSERT INTO parted SELECT i FROM generate_series(0, 29) i;
CREATE DATABASE doomed;
SELECT pg_create_restore_point('before the release');
BEGIN; DROP TABLE kept; ROLLBACK;
TRUNCATE emptied; VACUUM FULL rewritten; REINDEX TABLE rewritten;
BEGIN; ALTER TABLE shop.orders RENAME TO other; ALTER TABLE shop.other ADD w int; DROP TABLE shop.other; COMMIT;
BEGIN; CREATE TABLE fleeting (i int); INSERT INTO fleeting VALUES (1); DROP TABLE fleeting; COMMIT;
DROP TABLE "Odd.Name"; DROP DATABASE doomed;
SELECT pg_create_restore_point('twice'); SELECT pg_create_restore_point('twice');
BEGIN; TRUNCATE reloaded; INSERT INTO reloaded VALUES (2); COMMIT;
VACUUM FULL hollow; VACUUM hollow; REFRESH MATERIALIZED VIEW summed; ALTER TABLE kept ALTER i TYPE bigint;
BEGIN; SELECT txid_current(); SAVEPOINT s; CREATE TABLE born (i int); INSERT INTO born VALUES (1); TRUNCATE born; COMMIT;
BEGIN; CREATE TABLE stillborn (i int); INSERT INTO stillborn VALUES (1); TRUNCATE stillborn; ROLLBACK;
TRUNCATE parted_b; TRUNCATE parted; TRUNCATE parted_b1;
DROP MATERIALIZED VIEW summed; DROP VIEW shown; DROP TYPE pair; DROP FOREIGN TABLE distant; DROP TABLE parted;
`

func (h *history) work(t *testing.T, server *compute.Server) {
	ctx := context.Background()
	first, err := server.QueryValue(ctx, "SELECT txid_current()")
	require.NoError(t, err)
	_, err = server.Pgbench(ctx, "-i", "-q", "-s", "1")
	require.NoError(t, err)
	for range 2 {
		_, err = server.Pgbench(ctx, "-c", "4", "-t", "75", "-n")
		require.NoError(t, err)
		require.NoError(t, server.Exec(ctx, "CHECKPOINT"))
	}
	oid := func(name string) {
		h.oids[name], err = server.QueryValue(ctx, "SELECT '"+name+"'::regclass::oid")
		require.NoError(t, err)
	}
	for _, statement := range strings.Split(strings.TrimSpace(pastWork), "\n") {
		var args []string
		if strings.HasPrefix(statement, "BEGIN") {
			args = []string{"-c", statement}
		} else {
			for _, s := range strings.Split(strings.TrimSuffix(statement, ";"), ";") {
				args = append(args, "-c", s)
			}
		}
		_, err := server.Psql(ctx, args...)
		require.NoError(t, err, statement)
		if strings.HasPrefix(statement, "CREATE DATABASE") {
			oid("shop.orders")
			oid("emptied")
		}
	}
	conn, err := server.Connect(ctx, "")
	require.NoError(t, err)
	results, err := conn.Exec(ctx, "BEGIN; SELECT txid_current(); ROLLBACK").ReadAll()
	require.NoError(t, err)
	require.NoError(t, conn.Close(ctx))
	xid, err := strconv.ParseUint(string(results[1].Rows[0][0]), 10, 32)
	require.NoError(t, err)
	h.aborted = uint32(xid)
	rows, err := server.Query(ctx, fmt.Sprintf(`SELECT i, (extract(epoch FROM t) * 1000000)::bigint FROM
		(SELECT i, pg_xact_commit_timestamp(i::text::xid) AS t FROM generate_series(%s, %d) i) x WHERE t IS NOT NULL`, first, xid))
	require.NoError(t, err)
	for _, row := range rows {
		xid, err := strconv.ParseUint(row[0], 10, 32)
		require.NoError(t, err)
		micros, err := strconv.ParseInt(row[1], 10, 64)
		require.NoError(t, err)
		h.times[uint32(xid)] = time.UnixMicro(micros)
	}
}

// readOrder asks pg_waldump for the order of commits, where there is one.
func (h *history) readOrder(t *testing.T, o *origin) {
	dump := filepath.Join(o.install.BinDir, "pg_waldump")
	if _, err := os.Stat(dump); err != nil {
		t.Skipf("this PostgreSQL came without pg_waldump: %v", err)
	}
	const size = wal.DefaultSegmentSize
	file := func(at wal.LSN) string { return filepath.Join(o.last, "pg_wal", size.FileName(1, size.SegmentNo(at))) }
	out := runTool(t, dump, "-s", o.redo.String(), "-e", o.end.String(), "-r", "Transaction", file(o.redo), file(o.end-1))
	commit := regexp.MustCompile(`tx: +(\d+), lsn: .*desc: COMMIT`)
	for line := range strings.Lines(out) {
		if m := commit.FindStringSubmatch(line); m != nil {
			xid, err := strconv.ParseUint(m[1], 10, 32)
			require.NoError(t, err)
			if _, known := h.times[uint32(xid)]; known {
				h.order = append(h.order, uint32(xid))
			}
		}
	}
	require.Len(t, h.order, len(h.times)-1, "one is of a subtransaction")
	require.Greater(t, len(h.order), 600)
}

// before is the last transaction of those that recovery to a time would bring
// back; after the first that it would not. 0 without one.
func (h *history) around(at time.Time) (before, after uint32) {
	for _, xid := range h.order {
		if h.times[xid].After(at) {
			return before, xid
		}
		before = xid
	}
	return before, 0
}

// Times, restore points and transactions lead to the LSNs that PostgreSQL's own
// commit timestamps and pg_waldump say, and what was dropped and truncated is
// found under its name of then.
func TestThePast(t *testing.T) {
	h := &history{times: map[uint32]time.Time{}, oids: map[string]string{}}
	o := newOriginOf(t, func(server *compute.Server) { h.work(t, server) })
	h.readOrder(t, o)
	n := readyNode(t, o)
	t.Run("times", func(t *testing.T) { h.checkTimes(t, n) })
	t.Run("pages at times", func(t *testing.T) { h.checkPagesAtTimes(t, n) })
	t.Run("transactions", func(t *testing.T) { h.checkTransactions(t, n) })
	t.Run("restore points", func(t *testing.T) { h.checkRestorePoints(t, n) })
	t.Run("drops", func(t *testing.T) { h.checkDrops(t, n) })
	t.Run("endpoints", func(t *testing.T) { h.checkHTTP(t, n) })
	t.Run("window", func(t *testing.T) { h.checkWindow(t, n) })
}

// checkPagesAtTimes: a time is read at as the LSN that it means.
func (h *history) checkPagesAtTimes(t *testing.T, n *node) {
	for _, xid := range []uint32{h.order[len(h.order)/2], h.order[len(h.order)-1]} {
		at := h.times[xid].UTC().Format(time.RFC3339Nano)
		lsn, err := n.query("SHOW LSN AT '" + at + "'")
		require.NoError(t, err)
		for _, what := range []string{"SHOW PAGE '1664/0/1262' BLOCK 0", "SHOW RELATIONS"} {
			byTime, err := n.query(what + " AT TIME '" + at + "'")
			require.NoError(t, err, what)
			byLSN, err := n.query(what + " AT LSN '" + lsn[0]["lsn"] + "'")
			require.NoError(t, err, what)
			require.NotEmpty(t, byLSN)
			require.Equal(t, byLSN, byTime)
		}
	}
	_, err := n.query("SHOW RELATIONS AT TIME '2001-01-01 00:00:00Z'")
	require.Equal(t, protocol.CodeOutsideWindow, protocol.SQLState(err), "%v", err)
}

func (h *history) checkTimes(t *testing.T, n *node) {
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	first, last := h.times[h.order[0]], h.times[h.order[len(h.order)-1]]
	for range 400 {
		at := h.times[h.order[random.IntN(len(h.order))]].Add(time.Duration(random.IntN(3)-1) * time.Microsecond)
		if random.IntN(4) == 0 {
			at = first.Add(time.Duration(random.Int64N(int64(last.Sub(first)))))
		}
		if at.Before(first) {
			continue
		}
		rows, err := n.query("SHOW LSN AT '" + at.UTC().Format(time.RFC3339Nano) + "'")
		require.NoError(t, err)
		before, after := h.around(at)
		require.Equal(t, fmt.Sprint(before), rows[0]["commit_xid"], at)
		require.Equal(t, h.times[before].UTC().Format("2006-01-02T15:04:05.000000Z"), rows[0]["commit_time"])
		if after == 0 {
			require.Equal(t, "f", rows[0]["complete"])
			continue
		}
		require.Equal(t, "t", rows[0]["complete"])
		require.Equal(t, h.times[after].UTC().Format("2006-01-02T15:04:05.000000Z"), rows[0]["next_commit_time"])
		require.Equal(t, rows[0]["commit_lsn"], rows[0]["lsn"])
	}
	_, err := n.query("SHOW LSN AT '2001-01-01 00:00:00Z'")
	require.Equal(t, protocol.CodeOutsideWindow, protocol.SQLState(err), "%v", err)
	_, err = n.query("SHOW LSN AT '2026-11-22 10:42:07'")
	require.Equal(t, protocol.CodeInvalidParameter, protocol.SQLState(err), "a time without its zone: %v", err)
	rows, err := n.query("SHOW LSN AT '2100-01-01 00:00:00Z'")
	require.NoError(t, err)
	require.Equal(t, [2]string{"f", fmt.Sprint(h.order[len(h.order)-1])}, [2]string{rows[0]["complete"], rows[0]["commit_xid"]})
}

func (h *history) checkTransactions(t *testing.T, n *node) {
	for _, i := range []int{0, len(h.order) / 2, len(h.order) - 1} {
		xid := h.order[i]
		rows, err := n.query(fmt.Sprintf("SHOW LSN AT 'xid:%d'", xid))
		require.NoError(t, err)
		// The time of the same commit leads there, too, unless it is out of order.
		if before, _ := h.around(h.times[xid]); before == xid {
			same, err := n.query("SHOW LSN AT '" + h.times[xid].UTC().Format(time.RFC3339Nano) + "'")
			require.NoError(t, err)
			require.Equal(t, same[0]["lsn"], rows[0]["lsn"])
		}
	}
	for text, code := range map[string]string{
		fmt.Sprint(h.aborted): protocol.CodeUndefinedObject, fmt.Sprint(h.aborted + 1000): protocol.CodeUndefinedObject,
		"5": protocol.CodeOutsideWindow, "x": protocol.CodeInvalidParameter,
	} {
		_, err := n.query("SHOW LSN AT 'xid:" + text + "'")
		require.Equal(t, code, protocol.SQLState(err), "%s: %v", text, err)
	}
}

func (h *history) checkRestorePoints(t *testing.T, n *node) {
	rows, err := n.query("FIND 'restore-point'")
	require.NoError(t, err)
	require.Len(t, rows, 3)
	point, err := n.query("SHOW LSN AT 'name:before the release'")
	require.NoError(t, err)
	require.Equal(t, [2]string{"before the release", point[0]["lsn"]}, [2]string{rows[2]["name"], rows[2]["lsn"]})
	_, err = n.query("SHOW LSN AT 'name:twice'")
	require.ErrorContains(t, err, "there are 2 restore points")
	_, err = n.query("SHOW LSN AT 'name:never'")
	require.Equal(t, protocol.CodeUndefinedObject, protocol.SQLState(err))
}

func (h *history) checkDrops(t *testing.T, n *node) {
	find := func(sql string) (names []string) {
		rows, err := n.query(sql)
		require.NoError(t, err)
		for _, row := range rows {
			names = append(names, row["schema"]+"."+row["name"])
			// At the LSN to go back to the relation's file is there.
			if rel := row["relation"]; rel != "" && row["blocks"] != "0" && row["before_lsn"] != "" {
				was, err := n.query("SHOW PAGE '" + rel + "' BLOCK 0 AT LSN '" + row["before_lsn"] + "'")
				require.NoError(t, err)
				require.NotEqual(t, "0", was[0]["line_pointers"])
				_, err = n.query("SHOW PAGE '" + rel + "' BLOCK 0 AT LSN '" + row["lsn"] + "'")
				require.Equal(t, protocol.CodeUndefinedTable, protocol.SQLState(err))
			}
		}
		return names
	}
	require.Equal(t, []string{
		"public.parted", "public.parted_a", "public.parted_b", "public.parted_b1", "public.parted_b2",
		"public.distant", "public.pair", "public.shown", "public.summed", ".doomed", "public.Odd.Name", "shop.orders",
	}, find("FIND 'drop'"))
	require.Equal(t, []string{"public.shown"}, find("FIND 'drop' KINDS 'v'"))
	require.Equal(t, []string{"shop.orders"}, find("FIND drop NAMED 'shop.*'"))
	require.Equal(t, []string{"shop.orders"}, find("FIND 'drop' LIMIT 1 NAMED 'ord*'"))
	require.Equal(t, []string{
		"public.parted_b1", "public.parted", "public.parted_a", "public.parted_b", "public.parted_b1", "public.parted_b2",
		"public.parted_b", "public.parted_b1", "public.parted_b2", "public.born", "public.reloaded", "public.emptied",
		// pgbench -i truncates what it is about to fill.
		"public.pgbench_history", "public.pgbench_tellers", "public.pgbench_accounts", "public.pgbench_branches",
	}, find("FIND 'truncate'"))
	require.Equal(t, []string{"public.parted", "public.parted_b", "public.parted_b"}, find("FIND 'truncate' KINDS 'p'"))
	require.Contains(t, find("FIND 'drop' KINDS 'i'"), "shop.orders_pkey")
	require.Empty(t, find("FIND 'drop' NAMED 'kept'"), "that was rolled back")
	rows, err := n.query("FIND 'drop' NAMED 'orders'")
	require.NoError(t, err)
	require.Equal(t, [3]string{"postgres", "r", h.oids["shop.orders"]}, [3]string{rows[0]["database"], rows[0]["kind"], rows[0]["oid"]})
	_, err = n.query("FIND 'lost'")
	require.Equal(t, protocol.CodeInvalidParameter, protocol.SQLState(err))
}

// The window moves, pins keep what they name, and WAL goes that neither needs.
func (h *history) checkWindow(t *testing.T, n *node) {
	rows, err := n.query("SHOW WINDOW")
	require.NoError(t, err)
	require.Equal(t, h.times[h.order[len(h.order)-1]].UTC().Format("2006-01-02T15:04:05.000000Z"), rows[0]["newest_commit_time"])
	middle := h.order[len(h.order)/3]
	pinned, err := n.query(fmt.Sprintf("PIN 'keep' AT 'xid:%d'", middle))
	require.NoError(t, err)
	pinnedLSN, err := wal.ParseLSN(pinned[0]["lsn"])
	require.NoError(t, err)
	// As pg_current_wal_insert_lsn tells it when a page is full.
	behindHeader := pinnedLSN.PageStart() + 24
	if wal.DefaultSegmentSize.Offset(pinnedLSN.PageStart()) == 0 {
		behindHeader += 16
	}
	_, err = n.query("PIN 'header' AT '" + behindHeader.String() + "'")
	require.NoError(t, err)
	require.NoError(t, n.timeline.pages.tl.Flush(t.Context()))
	// As if the window ended with two thirds of the commits.
	edge := h.times[h.order[len(h.order)*2/3]]
	newest := h.times[h.order[len(h.order)-1]]
	require.NoError(t, n.timeline.collect(t.Context(), newest.Sub(edge), newest.Add(time.Hour)))
	want, _ := h.around(edge)
	rows, err = n.query("SHOW WINDOW")
	require.NoError(t, err)
	oldest, err := n.query(fmt.Sprintf("SHOW LSN AT 'xid:%d'", want))
	require.NoError(t, err)
	require.Equal(t, oldest[0]["lsn"], rows[0]["oldest_lsn"], "it is what the window begins with")
	require.Equal(t, "2", rows[0]["pins"])
	require.NoError(t, n.timeline.pages.tl.Compact(t.Context()))
	edgeLSN, err := wal.ParseLSN(rows[0]["oldest_lsn"])
	require.NoError(t, err)
	at, err := n.query("SHOW LSN AT '" + edge.UTC().Format(time.RFC3339Nano) + "'")
	require.NoError(t, err)
	require.Equal(t, rows[0]["oldest_lsn"], at[0]["lsn"])
	require.Equal(t, fmt.Sprint(want), at[0]["commit_xid"])

	_, err = n.query("SHOW RELATIONS AT LSN '" + pinned[0]["lsn"] + "'")
	require.NoError(t, err, "it is pinned")
	_, err = n.query("SHOW RELATIONS AT LSN '" + behindHeader.String() + "'")
	require.NoError(t, err, "so is what lies behind a page header")
	_, err = n.query("UNPIN 'header'")
	require.NoError(t, err)
	_, err = n.query("SHOW RELATIONS AT LSN '" + (edgeLSN - 8).String() + "'")
	require.Equal(t, protocol.CodeOutsideWindow, protocol.SQLState(err))
	horizon := func() wal.LSN {
		p, err := n.timeline.pages.past()
		require.NoError(t, err)
		at, err := p.walHorizon(t.Context(), n.timeline.pages.baseStart())
		require.NoError(t, err)
		return at
	}
	require.Equal(t, n.timeline.pages.baseStart(), horizon(), "redo from the pinned moment begins at the base's checkpoint")
	_, err = n.query("UNPIN 'keep'")
	require.NoError(t, err)
	require.Greater(t, horizon(), n.timeline.pages.baseStart(), "redo begins at the checkpoint before the window")
	require.Less(t, horizon(), edgeLSN)
	_, err = n.query("SHOW RELATIONS AT LSN '" + pinned[0]["lsn"] + "'")
	require.Equal(t, protocol.CodeOutsideWindow, protocol.SQLState(err))
	_, err = n.query("PIN 'late' AT '" + pinned[0]["lsn"] + "'")
	require.Equal(t, protocol.CodeOutsideWindow, protocol.SQLState(err))
}
