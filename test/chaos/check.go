package chaos

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/test/cluster"
	"github.com/walhaven/walhaven/wal"
)

// position asks a server for a position of its WAL; 0 = it does not answer.
func position(db *database, sql string) wal.LSN {
	text, err := db.server.QueryValue(context.Background(), sql)
	if err != nil {
		return 0
	}
	lsn, err := wal.ParseLSN(text)
	if err != nil {
		return 0
	}
	return lsn
}

// end is where the primary's WAL ends, all of which is committed soon.
func (w *world) end() wal.LSN {
	w.t.Helper()
	end := position(w.primary.Load(), "SELECT pg_current_wal_flush_lsn()")
	require.NotZero(w.t, end)
	return end
}

// requireStandbyFollows waits until the standby has what the primary has now.
func (w *world) requireStandbyFollows() {
	w.t.Helper()
	end := w.end()
	w.eventually("the standby follows", func() bool { return position(w.standby(), "SELECT pg_last_wal_replay_lsn()") >= end })
}

// requireNothingLost compares the primary with what clients were told so far.
func (w *world) requireNothingLost() {
	w.t.Helper()
	w.requireRows(w.primary.Load())
}

func (w *world) requireRows(db *database) {
	w.t.Helper()
	known := w.history.snapshot()
	rows, err := db.server.Query(context.Background(), "SELECT id FROM acked")
	require.NoError(w.t, err)
	ids := make([]int64, len(rows))
	for i, row := range rows {
		ids[i], err = strconv.ParseInt(row[0], 10, 64)
		require.NoError(w.t, err)
	}
	require.NoError(w.t, known.checkInserts(ids), fmt.Sprint(db.m))
}

// requireEarlyPush: the walproposer beside the primary pushes WAL before PostgreSQL has flushed it.
func (w *world) requireEarlyPush() {
	w.t.Helper()
	w.eventually("WAL is pushed early", func() bool {
		page := w.primary.Load().metrics()
		return strings.Contains(page, "\nwalhaven_walproposer_early_push_on 1\n") && !strings.Contains(page, "\nwalhaven_walproposer_early_bytes_total 0\n")
	})
}

// metrics are those of the walproposer; empty when it does not answer.
func (db *database) metrics() string {
	_, page := db.world.ask(db.m, db.httpAddress(), "/metrics")
	return page
}

// ask asks a program on m, which may tell its own machine only; nil when it does
// not answer.
func (w *world) ask(m machine, address, path string) (header http.Header, body string) {
	var conn net.Conn
	var err error
	require.NoError(w.t, w.net.on(m, func() {
		conn, err = (&net.Dialer{}).DialContext(context.Background(), "tcp", address)
	}))
	if err != nil {
		return nil, ""
	}
	defer conn.Close() //nolint:errcheck // All was read.
	if err := conn.SetDeadline(time.Now().Add(cluster.Deadline)); err != nil {
		return nil, ""
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.0\r\n\r\n", path); err != nil {
		return nil, ""
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return nil, ""
	}
	defer resp.Body.Close() //nolint:errcheck // All was read.
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, ""
	}
	return resp.Header, string(text)
}

// readRegisters returns the registers that were ever written to.
func (w *world) readRegisters(db *database) map[int]int64 {
	w.t.Helper()
	rows, err := db.server.Query(context.Background(), "SELECT register, value FROM registers WHERE value <> 0")
	require.NoError(w.t, err)
	values := map[int]int64{}
	for _, row := range rows {
		register, err := strconv.Atoi(row[0])
		require.NoError(w.t, err)
		values[register], err = strconv.ParseInt(row[1], 10, 64)
		require.NoError(w.t, err)
	}
	return values
}

// report says what was done and found.
func (w *world) report() {
	h := w.history
	if h == nil {
		return // nothing ran
	}
	inserts, swaps, _ := h.counts()
	total := 0
	var kinds []string
	for name, n := range w.faults {
		kinds = append(kinds, fmt.Sprintf("%3d  %s", n, name))
		if !strings.HasPrefix(name, "(") { // else it only tells how one ended
			total += n
		}
	}
	slices.Sort(kinds)
	verdict := "none lost, the swaps linearizable, the standby equal"
	if !w.sound {
		verdict = "NOT ALL CHECKED: see above"
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	asked := 0
	for _, s := range h.swaps {
		if !s.read {
			asked++
		}
	}
	w.t.Logf("%d faults in %s\n%s", total, time.Since(h.began).Round(time.Second), strings.Join(kinds, "\n"))
	w.t.Logf("%d acknowledged commits checked, %s: %d inserts and %d swaps, %d and %d of unknown outcome; the longest time between two inserts %s",
		inserts+swaps, verdict, inserts, swaps, len(h.unknown), asked-swaps, h.longest.Round(time.Millisecond))
}

// requireSameWAL compares what safekeepers have: the segments that any two of them have
// whole, of which each removes what it need not keep meanwhile, and the last one of all
// up to where the primary's WAL ends.
func (w *world) requireSameWAL() {
	w.t.Helper()
	compared := 0
	for m := safekeeper1; m <= safekeeper3; m++ {
		other := m%safekeeper3 + 1
		files, err := filepath.Glob(filepath.Join(w.timelineDir(m), "0000000*"))
		require.NoError(w.t, err)
		for _, file := range files {
			if strings.Contains(filepath.Base(file), ".") {
				continue
			}
			left, errLeft := os.ReadFile(file)
			right, errRight := os.ReadFile(filepath.Join(w.timelineDir(other), filepath.Base(file)))
			err := errors.Join(errLeft, errRight)
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			require.NoError(w.t, err)
			require.True(w.t, bytes.Equal(left, right), "%s differs between %s and %s", filepath.Base(file), m, other)
			compared++
		}
	}
	end := w.end()
	w.eventually("safekeepers hold the same WAL up to "+end.String(), func() bool {
		first := w.segmentUpto(safekeeper1, end)
		return len(first) > 0 && bytes.Equal(first, w.segmentUpto(safekeeper2, end)) && bytes.Equal(first, w.segmentUpto(safekeeper3, end))
	})
	w.t.Logf("%d whole segments compared between safekeepers, and the last up to %s", compared, end)
}

// timelineDir is where a safekeeper keeps the WAL.
func (w *world) timelineDir(m machine) string {
	c := w.primary.Load().loadCluster()
	return filepath.Join(w.dir, m.String(), "data", c.Tenant.String(), c.Timeline.String())
}

// segmentUpto is what a safekeeper's file of the segment that ends at end, or in which end
// lies, holds in front of it. The file may be renamed or removed meanwhile: nil then.
func (w *world) segmentUpto(m machine, end wal.LSN) []byte {
	no := wal.DefaultSegmentSize.SegmentNo(end - 1)
	name := wal.DefaultSegmentSize.FileName(1, no)[len("00000001"):]
	files, err := filepath.Glob(filepath.Join(w.timelineDir(m), "????????"+name+"*"))
	require.NoError(w.t, err)
	if len(files) == 0 {
		return nil
	}
	data, err := os.ReadFile(files[len(files)-1]) // that of the newest PostgreSQL timeline
	if err != nil {
		return nil
	}
	return data[:min(int(end-wal.DefaultSegmentSize.Start(no)), len(data))]
}
