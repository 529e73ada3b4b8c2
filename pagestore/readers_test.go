package pagestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/walhaven/walhaven/wal"
)

// Readers at every LSN while one writer puts and the background flushes,
// compacts and collects. The value of a key at an LSN is known: each put appends
// its number, so a reader can tell a wrong answer from a right one.
func TestReadersBesideEverything(t *testing.T) {
	fs := vfs.NewMem()
	o := smallOptions(fs)
	o.FlushInterval = time.Millisecond
	o.MemLayerSize = 8 << 10
	s := mustOpen(t, o)
	tl, err := s.Create(timelineID(0), 0)
	require.NoError(t, err)
	const keys, puts = 8, 1500
	want := func(key int, lsn wal.LSN) (page []byte) {
		for n := 1; n <= int(lsn); n++ {
			if n%keys == key {
				page = fmt.Appendf(page, "%d,", n)
			}
		}
		return page
	}
	ctx, cancel := context.WithCancel(t.Context())
	var background, readers errgroup.Group
	background.Go(func() error { return s.Run(ctx) })
	for r := range 3 {
		readers.Go(func() error {
			rng := rand.New(rand.NewPCG(uint64(r), 1))
			var v Value
			for tl.LastLSN() < puts {
				last, cutoff := tl.LastLSN(), tl.CutoffLSN()
				lsn := cutoff + wal.LSN(rng.Uint64N(uint64(last-cutoff)+1))
				key := rng.IntN(keys)
				err := tl.Get(ctx, testKey(key), lsn, &v)
				page := want(key, lsn)
				if tl.CutoffLSN() > lsn || len(page) == 0 {
					continue // The cutoff overtook the reader, or there is nothing.
				}
				if err != nil {
					return err
				}
				if got := apply(&v); !bytes.Equal(got, page) {
					return fmt.Errorf("key %d at %s: %q, want %q", key, lsn, got, page)
				}
				if rng.IntN(20) == 0 {
					if err := tl.Scan(ctx, AllKeys, last, ScanOptions{KeysOnly: true}, func(Key, *Value) (bool, error) { return true, nil }); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	for n := 1; n <= puts; n++ {
		lsn := wal.LSN(n)
		e := Entry{Key: testKey(n % keys), LSN: lsn, Kind: Delta, Value: fmt.Appendf(nil, "%d,", n)}
		require.NoError(t, tl.Put(ctx, Batch{Entries: []Entry{e}, LSN: lsn}))
		if n%200 == 0 {
			_, err := tl.Collect(lsn - 100)
			require.NoError(t, err)
		}
	}
	require.NoError(t, readers.Wait())
	cancel()
	require.NoError(t, background.Wait())
	require.NoError(t, tl.Flush(t.Context()))
	require.NoError(t, tl.Compact(t.Context()))
	names, err := fs.List(tl.dir)
	require.NoError(t, err)
	require.Len(t, names, tl.Info().Layers+1, "replaced layer files and indexes are gone")
	require.NoError(t, s.Close())
}

// The files of a replaced run live as long as somebody reads them.
func TestLastReaderDeletes(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, smallOptions(fs))
	defer s.Close()
	tl, err := s.Create(timelineID(0), 0)
	require.NoError(t, err)
	for range 3 {
		put(t, tl, Entry{Key: testKey(1), Kind: Delta, Value: []byte("x")})
		require.NoError(t, tl.Flush(t.Context()))
	}
	layers := func() (n int) {
		names, err := fs.List(tl.dir)
		require.NoError(t, err)
		for _, name := range names {
			if _, ok := parseLayerName(name); ok {
				n++
			}
		}
		return n
	}
	err = tl.Scan(t.Context(), AllKeys, tl.LastLSN(), ScanOptions{}, func(_ Key, v *Value) (bool, error) {
		require.NoError(t, tl.Compact(t.Context()))
		require.Equal(t, 4, layers(), "three that are being read and the merged one")
		require.Len(t, v.Deltas, 3)
		return true, nil
	})
	require.NoError(t, err)
	require.Equal(t, 1, layers())
}

// While much is put, the memory of a flushed layer is filled again, but not while
// somebody reads what was in it.
func TestLastReaderLeavesMemory(t *testing.T) {
	o := smallOptions(vfs.NewMem())
	now := time.Unix(1000, 0)
	o.Now = func() time.Time { return now } // Always in a hurry.
	o.MemLayerSize = 1 << 20
	s := mustOpen(t, o)
	defer s.Close()
	tl, err := s.Create(timelineID(0), 0)
	require.NoError(t, err)
	const keys = 5 * memAhead
	fill := func(value string) wal.LSN {
		for key := range keys {
			put(t, tl, Entry{Key: testKey(key), Kind: Image, Value: []byte(value)})
		}
		require.NoError(t, tl.Flush(t.Context()))
		return tl.LastLSN()
	}
	for key := range keys {
		put(t, tl, Entry{Key: testKey(key), Kind: Image, Value: []byte("old")})
	}
	read := 0
	err = tl.Scan(t.Context(), AllKeys, tl.LastLSN(), ScanOptions{}, func(key Key, v *Value) (bool, error) {
		if read == 0 {
			for range 3 {
				fill("new")
			}
		}
		require.Equal(t, "old", string(v.Image), "key %s", key)
		read++
		return true, nil
	})
	require.NoError(t, err)
	require.Equal(t, keys, read)
	require.NotEmpty(t, s.mems.spare.chunks, "it is kept for the next layer")

	now = now.Add(time.Hour)
	fill("late")
	require.Empty(t, s.mems.spare.chunks, "nobody is in a hurry any more")
}

// A read waits for no index that is being written: its disk may take long for that.
func TestReadsDoNotWaitForTheIndex(t *testing.T) {
	var slow atomic.Bool
	reached, goOn := make(chan struct{}), make(chan struct{})
	fs := &hookFS{FS: vfs.NewMem(), before: func(op, path string) error {
		if op == "sync" && isIndex(path) && slow.CompareAndSwap(true, false) {
			close(reached)
			<-goOn
		}
		return nil
	}}
	s := mustOpen(t, smallOptions(fs))
	defer s.Close()
	tl, err := s.Create(timelineID(0), 100)
	require.NoError(t, err)
	lsn := put(t, tl, Entry{Key: testKey(1), Kind: Image, Value: []byte("a")})
	require.NoError(t, tl.Flush(t.Context()))
	slow.Store(true)
	var collecting errgroup.Group
	collecting.Go(func() error {
		_, err := tl.Collect(lsn)
		return err
	})
	<-reached
	read := make(chan error, 1)
	go func() {
		var v Value
		err := tl.Get(t.Context(), testKey(1), lsn, &v)
		if err == nil && tl.CutoffLSN() != 100 {
			err = errors.New("the new cutoff is not durable yet")
		}
		read <- err
	}()
	select {
	case err = <-read:
	case <-time.After(10 * time.Second):
		err = errors.New("the read waits for the index")
	}
	close(goOn)
	require.NoError(t, err)
	require.NoError(t, collecting.Wait())
	require.Equal(t, lsn, tl.CutoffLSN())
}
