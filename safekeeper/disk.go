package safekeeper

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// probeEvery is how often the disk is tried.
	probeEvery = 5 * time.Second
	// probeStale is when a probe that does not come back counts as a failure: a
	// disk that hangs answers nothing.
	probeStale = 20 * time.Second

	probeFile = "walhaven.probe"
)

// diskProbe tries whether the data directory takes a write and an fsync, and
// watches its free space.
type diskProbe struct {
	dir     string
	minFree uint64 // bytes; 0 takes 5 % of the file system, at least 1 GiB

	mu   sync.Mutex
	at   time.Time
	err  error
	free uint64
	size uint64
}

func newDiskProbe(dir string, minFree uint64) *diskProbe {
	return &diskProbe{dir: dir, minFree: minFree}
}

// run probes until ctx is done.
func (d *diskProbe) run(ctx context.Context) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		d.probe()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (d *diskProbe) probe() {
	err := d.look()
	if err == nil {
		err = tryWrite(filepath.Join(d.dir, probeFile))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at, d.err = time.Now(), err
}

// look reads how much space there is. What it cannot read stays as it was: an
// error is no full disk, for which WAL would be removed.
func (d *diskProbe) look() error {
	var st unix.Statfs_t
	if err := unix.Statfs(d.dir, &st); err != nil {
		return fmt.Errorf("look at free space: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.free, d.size = st.Bavail*uint64(st.Bsize), st.Blocks*uint64(st.Bsize)
	return nil
}

func tryWrite(path string) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	if _, err := f.WriteAt([]byte{byte(time.Now().UnixNano())}, 0); err != nil {
		return err
	}
	return f.Sync()
}

// check is the health check.
func (d *diskProbe) check() (bool, string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.at.IsZero():
		return false, "not tried yet"
	case d.err != nil:
		return false, d.err.Error()
	case time.Since(d.at) > probeStale:
		return false, fmt.Sprintf("no write came back for %s", time.Since(d.at).Round(time.Second))
	case d.free < d.limit():
		return false, fmt.Sprintf("%d MiB are free, --min-free-disk is %d MiB", d.free>>20, d.limit()>>20)
	}
	return true, ""
}

func (d *diskProbe) limit() uint64 {
	if d.minFree != 0 {
		return d.minFree
	}
	return max(1<<30, d.size/20)
}

// low says that free space is known to be below the limit.
func (d *diskProbe) low() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.size != 0 && d.free < d.limit()
}

// missing looks again and returns how many bytes free space is below the limit, 0
// when that cannot be told.
func (d *diskProbe) missing() uint64 {
	err := d.look()
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil || d.free >= d.limit() {
		return 0
	}
	return d.limit() - d.free
}

// capacity is what the file system has above the limit.
func (d *diskProbe) capacity() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.size - min(d.size, d.limit())
}

// space returns free and needed bytes.
func (d *diskProbe) space() (free, limit uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.free, d.limit()
}
