package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
)

// requireStandbyFollows waits until the standby has what the primary has now.
func (w *world) requireStandbyFollows() {
	w.t.Helper()
	ctx := context.Background()
	at := func(db *database, sql string) wal.LSN {
		text, err := db.server.QueryValue(ctx, sql)
		if err != nil {
			return 0
		}
		lsn, err := wal.ParseLSN(text)
		if err != nil {
			return 0
		}
		return lsn
	}
	end := at(w.primary.Load(), "SELECT pg_current_wal_flush_lsn()")
	require.NotZero(w.t, end)
	w.eventually("the standby follows", func() bool { return at(w.standby(), "SELECT pg_last_wal_replay_lsn()") >= end })
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

// metrics are those of the walproposer, which tells them on its own machine only; empty when
// it does not answer.
func (db *database) metrics() string {
	var conn net.Conn
	var err error
	require.NoError(db.world.t, db.world.net.on(db.m, func() {
		conn, err = (&net.Dialer{}).DialContext(context.Background(), "tcp", db.httpAddress())
	}))
	if err != nil {
		return ""
	}
	defer conn.Close() //nolint:errcheck // All was read.
	_, err = conn.Write([]byte("GET /metrics HTTP/1.0\r\n\r\n"))
	page, readErr := io.ReadAll(conn)
	if errors.Join(err, readErr) != nil {
		return ""
	}
	return string(page)
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

// requireSameWAL compares the segments that safekeepers have whole, any two of
// them: up to the commit position they hold the same bytes. Each may remove what
// it need not keep meanwhile.
func (w *world) requireSameWAL() {
	w.t.Helper()
	c := w.primary.Load().loadCluster()
	dir := func(m machine) string {
		return filepath.Join(w.dir, m.String(), "data", c.Tenant.String(), c.Timeline.String())
	}
	compared := 0
	for m := safekeeper1; m <= safekeeper3; m++ {
		other := m%safekeeper3 + 1
		files, err := filepath.Glob(filepath.Join(dir(m), "0000000*"))
		require.NoError(w.t, err)
		for _, file := range files {
			if strings.Contains(filepath.Base(file), ".") {
				continue
			}
			left, errLeft := os.ReadFile(file)
			right, errRight := os.ReadFile(filepath.Join(dir(other), filepath.Base(file)))
			err := errors.Join(errLeft, errRight)
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			require.NoError(w.t, err)
			require.True(w.t, bytes.Equal(left, right), "%s differs between %s and %s", filepath.Base(file), m, other)
			compared++
		}
	}
	require.Positive(w.t, compared)
	w.t.Logf("%d segments compared between safekeepers", compared)
}
