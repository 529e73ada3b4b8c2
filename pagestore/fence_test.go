package pagestore

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
)

// Two writers on one folder: the newer one fences the older, whatever the older
// tries first, and however often the newer one has written meanwhile.
func TestNewerWriterFencesOlder(t *testing.T) {
	for _, writes := range []int{0, 1, 5} {
		for name, attempt := range map[string]func(tl *Timeline) error{
			"flush":   func(tl *Timeline) error { return tl.Flush(t.Context()) },
			"pin":     func(tl *Timeline) error { return tl.Pin(t.Context(), "x", tl.FlushedLSN(), time.Time{}) },
			"compact": func(tl *Timeline) error { return tl.Compact(t.Context()) },
			"collect": func(tl *Timeline) error { _, err := tl.Collect(tl.FlushedLSN()); return err },
		} {
			fs := vfs.NewMem()
			older := mustOpen(t, smallOptions(fs))
			a, err := older.Create(timelineID(0), 100)
			require.NoError(t, err)
			put(t, a, Entry{Key: testKey(1), Kind: Image, Value: []byte("a")})
			require.NoError(t, a.Flush(t.Context()))
			promised := put(t, a, Entry{Key: testKey(1), Kind: Image, Value: []byte("lost")})

			newer := mustOpen(t, smallOptions(fs))
			require.Greater(t, newer.Generation(), older.Generation())
			b, err := newer.Timeline(timelineID(0))
			require.NoError(t, err)
			for range writes {
				put(t, b, Entry{Key: testKey(2), Kind: Delta, Value: []byte("b")})
				require.NoError(t, b.Flush(t.Context()))
			}
			require.ErrorIs(t, attempt(a), ErrFenced, "%s after %d writes", name, writes)
			require.ErrorIs(t, a.Flush(t.Context()), ErrFenced)
			require.Less(t, a.FlushedLSN(), promised)

			put(t, b, Entry{Key: testKey(3), Kind: Image, Value: []byte("c")})
			require.NoError(t, b.Flush(t.Context()), "the newer one goes on")
			var v Value
			require.NoError(t, b.Get(t.Context(), testKey(1), b.LastLSN(), &v))
			require.Equal(t, "a", string(v.Image))
			require.NoError(t, older.Close())
			require.NoError(t, newer.Close())

			again := mustOpen(t, smallOptions(fs))
			require.NoError(t, again.Close())
		}
	}
}

func TestLowerGenerationIsRefused(t *testing.T) {
	fs := vfs.NewMem()
	o := smallOptions(fs)
	o.Generation = 7
	s := mustOpen(t, o)
	_, err := s.Create(timelineID(0), 100)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	o.Generation = 6
	_, err = Open(testDir, o)
	require.ErrorIs(t, err, ErrFenced)
	o.Generation = 7
	s = mustOpen(t, o)
	require.NoError(t, s.Close())
}

// Branches keep what they read; a timeline with branches stays.
func TestBranchKeepsItsPast(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, smallOptions(fs))
	defer func() { require.NoError(t, s.Close()) }()
	root, err := s.Create(timelineID(0), 100)
	require.NoError(t, err)
	at := put(t, root, Entry{Key: testKey(1), Kind: Image, Value: []byte("old")})
	child, err := s.Branch(t.Context(), root.ID(), timelineID(1), at)
	require.NoError(t, err)
	require.Equal(t, at, root.FlushedLSN(), "a branch never names what a crash could take")
	for range 5 {
		put(t, root, Entry{Key: testKey(1), Kind: Image, Value: []byte("new")})
	}
	require.NoError(t, root.Flush(t.Context()))
	_, err = root.Collect(root.LastLSN())
	require.NoError(t, err)
	require.NoError(t, root.Compact(t.Context()))
	require.EqualValues(t, 2, root.Info().Entries, "the newest and the pinned")

	var v Value
	require.NoError(t, child.Get(t.Context(), testKey(1), at, &v))
	require.Equal(t, "old", string(v.Image))
	require.ErrorIs(t, root.Get(t.Context(), testKey(1), at+8, &v), ErrCollected)
	require.ErrorIs(t, s.Delete(root.ID()), ErrHasBranches)
	require.NoError(t, s.Delete(child.ID()))
	require.Empty(t, root.Pins())
	require.NoError(t, root.Compact(t.Context()))
	require.EqualValues(t, 1, root.Info().Entries)
	_, err = s.Branch(t.Context(), root.ID(), timelineID(1), at)
	require.ErrorIs(t, err, ErrCollected)
}

func TestPinsExpire(t *testing.T) {
	now := time.Unix(1000, 0)
	o := smallOptions(vfs.NewMem())
	o.Now = func() time.Time { return now }
	s := mustOpen(t, o)
	defer s.Close()
	tl, err := s.Create(timelineID(0), 100)
	require.NoError(t, err)
	lsn := put(t, tl, Entry{Key: testKey(1), Kind: Image, Value: []byte("a")})
	require.NoError(t, tl.Pin(t.Context(), "backup", lsn, now.Add(time.Minute)))
	put(t, tl, Entry{Key: testKey(1), Kind: Image, Value: []byte("b")})
	require.NoError(t, tl.Flush(t.Context()))
	collect := func() error {
		_, err := tl.Collect(tl.LastLSN())
		require.NoError(t, err)
		require.NoError(t, tl.Compact(t.Context()))
		var v Value
		return tl.Get(t.Context(), testKey(1), lsn, &v)
	}
	require.NoError(t, collect())
	now = now.Add(2 * time.Minute)
	require.ErrorIs(t, collect(), ErrCollected)
	require.Empty(t, tl.Pins())
	require.ErrorIs(t, tl.Pin(t.Context(), "late", wal.LSN(101), time.Time{}), ErrCollected)
}
