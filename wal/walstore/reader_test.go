package walstore

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
)

// TestReadersBesideEverything reads at full speed while WAL is appended, synced,
// cut and removed: a reader sees the bytes of the WAL as it is, or an error that
// says what happened.
func TestReadersBesideEverything(t *testing.T) {
	s := create(t, Options{FS: vfs.NewMem()})
	defer shut(t, s)
	const records = 300
	whole, g := newGenerator(), newGenerator()
	for i := range records {
		whole.record(20_000, byte(i))
	}
	_, want := whole.take()

	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			buf := make([]byte, 50_000)
			at := testStart
			for {
				select {
				case <-stop:
					return
				default:
				}
				n, err := s.ReadAt(buf, at)
				switch {
				case errors.Is(err, ErrRemoved):
					at = max(s.Oldest(), testStart)
				case errors.Is(err, io.EOF), errors.Is(err, ErrGap):
					at = max(s.Oldest(), testStart)
				case err != nil:
					t.Error(err)
					return
				case !bytes.Equal(buf[:n], want[at-testStart:][:n]):
					t.Errorf("wrong bytes at %s", at)
					return
				default:
					at += wal.LSN(n)
				}
			}
		})
	}
	var syncers sync.WaitGroup
	for i := range records {
		g.record(20_000, byte(i))
		push(t, s, g)
		syncers.Go(func() {
			if err := s.Sync(); err != nil {
				t.Error(err)
			}
		})
		switch {
		case i%50 == 49: // Cut the last record off and append it again.
			require.NoError(t, s.Truncate(g.prev, wal.TimelineHistory{Last: 1}))
			at := g.prev
			require.NoError(t, s.Append(1, at, want[at-testStart:g.pos-testStart]))
		case i%70 == 69:
			require.NoError(t, s.Sync())
			_, err := s.RemoveBefore(g.pos - 3<<20)
			require.NoError(t, err)
		}
	}
	syncers.Wait()
	close(stop)
	readers.Wait()
	require.NoError(t, s.Sync())
	require.Equal(t, g.pos, s.Positions().FlushRecord)
}

func TestRemoveBefore(t *testing.T) {
	o := Options{FS: vfs.NewMem()}
	s := create(t, o)
	g := newGenerator()
	g.record(500_000, 0)
	push(t, s, g)
	n, err := s.RemoveBefore(g.pos)
	require.NoError(t, err)
	require.Zero(t, n, "nothing is durable yet")
	for i := range 10 {
		g.record(500_000, byte(i))
		push(t, s, g)
	}
	require.NoError(t, s.Sync())
	first := s.Oldest()
	n, err = s.RemoveBefore(first + 2*wal.LSN(testSegment) + 5)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.Equal(t, first+2*wal.LSN(testSegment), s.Oldest())
	_, err = s.ReadAt(make([]byte, 8), s.Oldest()-1)
	require.ErrorIs(t, err, ErrRemoved)
	_, err = s.ReadAt(make([]byte, 8), s.Oldest())
	require.NoError(t, err)
	require.ErrorIs(t, s.Truncate(s.Oldest()-8, wal.TimelineHistory{Last: 1}), ErrRemoved)
	_, err = s.RemoveBefore(g.pos + 1<<30)
	require.NoError(t, err)
	require.Equal(t, testSegment.SegmentStart(g.pos-1), s.Oldest(), "the last durable byte stays")
	shut(t, s)
	s = open(t, o)
	defer shut(t, s)
	require.Equal(t, g.pos, s.Positions().FlushRecord)
}

// TestTLISwitchFiles looks at the files after a switch inside a segment.
func TestTLISwitchFiles(t *testing.T) {
	mem := vfs.NewMem()
	o := Options{FS: mem}
	s := create(t, o)
	g := newGenerator()
	g.record(40_000, 1)
	sw, prev := g.pos, g.prev
	g.record(50_000, 2)
	push(t, s, g)
	h := twoTimelines(sw)
	require.NoError(t, s.Truncate(sw, h))
	require.NoError(t, s.SaveControl(func(c *Control) { c.History = h }))
	g = &generator{tli: 2, pos: sw, prev: prev}
	g.record(60_000, 3)
	push(t, s, g)
	require.NoError(t, s.Sync())

	read := func(name string) []byte {
		b, err := s.d.readFile(name, 1<<30)
		require.NoError(t, err)
		return b
	}
	off := testSegment.Offset(sw)
	old, next := read("000000010000000000000005.partial"), read("000000020000000000000005.partial")
	require.Equal(t, old[:off], next[:off])
	require.Equal(t, make([]byte, len(old)-int(off)), old[off:])
	require.NotEqual(t, old[off:], next[off:])
	require.Equal(t, "1\t"+sw.String()+"\tpromoted\n", string(read("00000002.history")))
	all := stored(t, s)
	shut(t, s)

	// The old timeline's file may go missing: the new one has the bytes.
	require.NoError(t, mem.Remove(testDir+"/000000010000000000000005.partial"))
	s = open(t, o)
	defer shut(t, s)
	require.Equal(t, all, stored(t, s))
}

// A WAL of another history is refused at its first record, because the scanner
// knows the record in front.
func TestWrongBackLinkIsRefused(t *testing.T) {
	o := Options{FS: vfs.NewMem()}
	s := create(t, o)
	g := newGenerator()
	g.record(100, 1)
	end := g.pos
	push(t, s, g)
	require.NoError(t, s.Sync())
	other := &generator{tli: 1, pos: end, prev: testStart - 8}
	other.record(100, 2)
	_, b := other.take()
	var corrupt *CorruptionError
	for range 2 {
		require.ErrorAs(t, s.Append(1, end, b), &corrupt)
		require.Equal(t, end, s.Positions().Write)
		require.NoError(t, s.Fenced())
		shut(t, s)
		s = open(t, o)
	}
	g.record(100, 2)
	push(t, s, g)
	require.ErrorIs(t, s.Truncate(end-8, wal.TimelineHistory{Last: 1}), ErrNotRecordEnd)
	shut(t, s)
}

// After XLOG_SWITCH the padding may never arrive; the segment is completed all
// the same when the next term starts behind it.
func TestSwitchWithoutPadding(t *testing.T) {
	for _, reopen := range []bool{false, true} {
		o := Options{FS: vfs.NewMem()}
		s := create(t, o)
		g := newGenerator()
		g.record(100, 1)
		_, end := g.switchSegment()
		_, b := g.take()
		require.NoError(t, s.Append(1, testStart, b[:2000]), "the switch record and some padding")
		require.Equal(t, end, s.Positions().WriteRecord)
		require.NoError(t, s.Sync())
		require.Equal(t, end, s.Positions().FlushRecord)
		// What is flushed may be committed, and what is committed is read.
		got := make([]byte, len(b))
		n, err := s.ReadAt(got, testStart)
		require.NoError(t, err)
		require.Equal(t, b, got[:n], "the record up to its end, padding included")
		_, err = s.Digests(context.Background(), wal.Range{Start: testStart, End: end})
		require.NoError(t, err)
		if reopen {
			shut(t, s)
			s = open(t, o)
		} else {
			require.NoError(t, s.Truncate(end, wal.TimelineHistory{Last: 1}))
		}
		require.Equal(t, Positions{end, end, end, end}, s.Positions())
		there, err := s.d.exists("000000010000000000000005")
		require.NoError(t, err)
		require.True(t, there)
		g.record(100, 2)
		push(t, s, g)
		require.NoError(t, s.Sync())
		shut(t, s)
	}
}

func TestMissingOrShortSegmentsAreReported(t *testing.T) {
	for _, short := range []bool{false, true} {
		mem := vfs.NewMem()
		s := create(t, Options{FS: mem})
		g := newGenerator()
		g.record(100, 1)
		push(t, s, g)
		shut(t, s)
		name := testDir + "/000000010000000000000005.partial"
		require.NoError(t, mem.Remove(name))
		if short {
			f, err := mem.Create(name, writeCategory)
			require.NoError(t, err)
			require.NoError(t, f.Close())
		}
		var corrupt *CorruptionError
		_, err := Open(testDir, Options{FS: mem})
		require.ErrorAs(t, err, &corrupt)
		require.Equal(t, g.pos-1, corrupt.LSN)
	}
}

func TestCreateTwice(t *testing.T) {
	o := Options{FS: vfs.NewMem()}
	s := create(t, o)
	defer shut(t, s)
	_, err := Create(testDir, testControl(), o)
	require.ErrorIs(t, err, ErrExists)
	bad := testControl()
	bad.Start = 5
	_, err = Create("/data/other", bad, o)
	require.Error(t, err)
}

func TestGroupCommitSharesSyncs(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := NewMetrics(reg, "safekeeper")
	s := create(t, Options{FS: vfs.NewMem(), Metrics: m})
	defer shut(t, s)
	g := newGenerator()
	g.record(100, 1)
	push(t, s, g)
	// Ten callers wait for the token; one round serves them all.
	s.mu.Lock()
	s.takeToken()
	s.mu.Unlock()
	var callers sync.WaitGroup
	for range 10 {
		callers.Go(func() {
			if err := s.Sync(); err != nil {
				t.Error(err)
			}
		})
	}
	for waiting := 0; waiting < 10; {
		s.mu.Lock()
		waiting = s.rounds.waiting
		s.mu.Unlock()
	}
	s.mu.Lock()
	s.giveToken()
	s.mu.Unlock()
	callers.Wait()
	require.EqualValues(t, 1, s.rounds.done)
	require.Equal(t, g.pos, s.Positions().FlushRecord)
	problems, err := testutil.GatherAndLint(reg)
	require.NoError(t, err)
	require.Empty(t, problems)
}
