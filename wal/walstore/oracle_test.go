package walstore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/walhaven/walhaven/wal"
)

// oracle knows what a disk may hold after a crash at this moment.
type oracle struct {
	mu      sync.Mutex
	created bool
	must    wal.LSN                        // acknowledged: WAL reaches at least to here
	allowed map[string][]byte              // control state -> WAL that it may stand beside, from testStart
	ends    map[wal.LSN]wal.LSN            // end -> start of all records that were ever made
	history map[string]wal.TimelineHistory // control state -> history saved with it
	oldest  wal.Range                      // oldest position lies in here, both ends included
}

// judge opens what a crash leaves and says what is wrong with it. The crash
// happens under the lock: nothing may be acknowledged between it and the verdict.
func (k *oracle) judge(crash func() *vfs.MemFS) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, err := Open(testDir, Options{FS: crash()})
	if err != nil {
		if !k.created && errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("open: %w", err)
	}
	defer s.Close()
	p, c := s.Positions(), s.Control()
	if p.WriteRecord != p.Write || p.Flush != p.Write || p.FlushRecord != p.Write {
		return fmt.Errorf("positions differ: %+v", p)
	}
	if p.Write < k.must {
		return fmt.Errorf("acknowledged WAL up to %s is lost: ends at %s", k.must, p.Write)
	}
	want, ok := k.allowed[string(c.State)]
	if !ok {
		return fmt.Errorf("control file holds the unexpected state %q", c.State)
	}
	if h := k.history[string(c.State)]; !c.History.Equal(h) {
		return fmt.Errorf("state %q stands beside history %+v instead of %+v", c.State, c.History, h)
	}
	if p.Write < testStart {
		if p.Write != testSegment.SegmentStart(testStart) {
			return fmt.Errorf("positions lie inside the prefix: %s", p.Write)
		}
		return nil
	}
	if _, ok := k.ends[p.Write]; !ok {
		return fmt.Errorf("%s is no record end", p.Write)
	}
	if o := s.Oldest(); o < k.oldest.Start || o > k.oldest.End {
		return fmt.Errorf("oldest is %s, expected %s", o, k.oldest)
	}
	from := max(testStart, s.Oldest())
	got := make([]byte, p.Write-from)
	if n, err := s.ReadAt(got, from); n != len(got) {
		return fmt.Errorf("read: %d of %d bytes: %w", n, len(got), err)
	}
	if end := int(p.Write - testStart); end > len(want) || !bytes.Equal(got, want[from-testStart:end]) {
		return fmt.Errorf("WAL up to %s is not what state %q stands beside", p.Write, c.State)
	}
	return nil
}
