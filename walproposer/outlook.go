package walproposer

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/walhaven/walhaven/wal"
)

const (
	// outlookEvery is the pause between looks at how much WAL PostgreSQL writes and
	// how much room it has.
	outlookEvery = 5 * time.Second
	// outlookOver is the time that the rate is taken over.
	outlookOver = time.Minute
	// outlookLogEvery is the pause between log records while no quorum
	// acknowledges.
	outlookLogEvery = time.Minute
	// outlookLogAfter is how long that may last before it is worth a word.
	outlookLogAfter = 10 * time.Second
)

// outlookFacts asks how far WAL is written, where, and how much more of it the
// slot survives.
const outlookFacts = `SELECT pg_current_wal_lsn() AS written, current_setting('data_directory') AS data_directory,
	(SELECT safe_wal_size FROM pg_replication_slots WHERE slot_name = '%s') AS safe_wal_size`

// outlook says how long PostgreSQL can keep WAL that the quorum does not take:
// until its disk is full, or until max_slot_wal_keep_size ends the slot.
type outlook struct {
	mu      sync.Mutex
	samples []walSample // of the last outlookOver, oldest first
	free    int64       // bytes on the disk of pg_wal; -1 = not known
	slot    int64       // bytes until the slot is given up; -1 = no limit
}

type walSample struct {
	at      time.Time
	written wal.LSN
}

func newOutlook() *outlook { return &outlook{free: -1, slot: -1} }

// add takes a look.
func (o *outlook) add(now time.Time, written wal.LSN, free, slot int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n := len(o.samples); n > 0 && o.samples[n-1].written > written {
		o.samples = nil // another server
	}
	o.samples = append(o.samples, walSample{now, written})
	for now.Sub(o.samples[0].at) > outlookOver {
		o.samples = o.samples[1:]
	}
	o.free, o.slot = free, slot
}

// forecast is what an outlook says.
type forecast struct {
	rate  float64 // bytes of WAL a second
	free  int64   // bytes on the disk of pg_wal; -1 = not known
	room  int64   // bytes until something ends; -1 = not known
	ends  string  // what ends then
	lasts float64 // seconds at that rate; +Inf without end, NaN when not known
}

func (o *outlook) forecast() forecast {
	o.mu.Lock()
	defer o.mu.Unlock()
	f := forecast{free: o.free, room: o.free, ends: "its disk is full", lasts: math.NaN()}
	if o.slot >= 0 && (o.free < 0 || o.slot < o.free) {
		f.room, f.ends = o.slot, "its slot is given up (max_slot_wal_keep_size)"
	}
	if n := len(o.samples); n >= 2 {
		first, last := o.samples[0], o.samples[n-1]
		f.rate = float64(last.written-first.written) / last.at.Sub(first.at).Seconds()
		if f.room >= 0 {
			f.lasts = float64(f.room) / f.rate // 0 bytes a second last for ever
		}
	}
	return f
}

// longOutlook is what is not worth a figure.
const longOutlook = 100 * 24 * time.Hour

// String completes a sentence about commits that wait.
func (f forecast) String() string {
	switch {
	case math.IsNaN(f.lasts):
		return ""
	case f.lasts > longOutlook.Seconds():
		return fmt.Sprintf("; PostgreSQL keeps the WAL, %d MiB more until %s", f.room>>20, f.ends)
	}
	return fmt.Sprintf("; PostgreSQL keeps the WAL for %s more at %.1f MiB/s, %d MiB, until %s",
		time.Duration(f.lasts*float64(time.Second)).Round(time.Second), f.rate/(1<<20), f.room>>20, f.ends)
}

// watch looks every 5 s until ctx is done; acknowledged says whether a quorum
// acknowledges commits.
func (o *outlook) watch(ctx context.Context, options Options, logger *slog.Logger, m *metrics, acknowledged func() (bool, string)) {
	tick := time.NewTicker(outlookEvery)
	defer tick.Stop()
	lost, logged := time.Now(), time.Time{}
	for {
		if err := o.look(ctx, options); err != nil && ctx.Err() == nil {
			logger.Debug("how long PostgreSQL can keep WAL is not known", "err", err)
		}
		f := o.forecast()
		m.outlook(f)
		ok, reason := acknowledged()
		if ok {
			lost, logged = time.Now(), time.Time{}
		} else if time.Since(lost) >= outlookLogAfter && time.Since(logged) >= outlookLogEvery {
			logged = time.Now()
			logger.Warn("no quorum acknowledges commits: PostgreSQL keeps the WAL", "reason", reason,
				"wal_bytes_per_second", int64(f.rate), "disk_free_bytes", f.free, "lasts_seconds", f.lasts, "until", f.ends)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look asks the server once, and its disk if that is this machine's and open to
// this account.
func (o *outlook) look(ctx context.Context, options Options) error {
	ctx, cancel := context.WithTimeout(ctx, outlookEvery)
	defer cancel()
	c, err := connectSQL(ctx, options.origin())
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // Nothing was left undone on it.
	row, err := one(ctx, c, fmt.Sprintf(outlookFacts, options.Slot))
	if err != nil {
		return err
	}
	written, err := row.LSN("written")
	if err != nil {
		return err
	}
	free, slot := int64(-1), int64(-1)
	if n, err := strconv.ParseInt(row["safe_wal_size"], 10, 64); err == nil {
		slot = max(0, n)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Join(row["data_directory"], "pg_wal"), &st); err == nil {
		free = int64(st.Bavail) * st.Bsize
	}
	o.add(time.Now(), written, free, slot)
	return nil
}
