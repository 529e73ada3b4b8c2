package pageread

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Pages read in any order, at any LSN, from caches too small and large enough,
// while more is put, flushed and compacted, are what was put.
func TestEveryPageAtEveryLSN(t *testing.T) {
	ctx := context.Background()
	for seed, bytes := range map[uint64]int64{1: 1, 2: 300 * versionBytes, 3: 64 << 20} {
		w := newWorld(t, seed, bytes)
		for round := range 3000 {
			w.put(t)
			for range 3 {
				lsn := wal.LSN(worldStart + 1 + w.rand.Uint64N(uint64(w.lsn-worldStart)))
				if w.rand.IntN(2) == 0 {
					lsn = w.lsn
				}
				at, err := w.reader.Exactly(ctx, lsn)
				require.NoError(t, err)
				w.check(t, worldKeys[w.rand.IntN(len(worldKeys))], at)
			}
			if round%500 == 499 {
				require.NoError(t, w.timeline.Flush(ctx))
				require.NoError(t, w.timeline.Compact(ctx))
			}
		}
	}
}

// A request's word that nothing changed is used, and what it is not true of is
// not.
func TestNotModifiedSince(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, 4, 8<<20)
	for range 2000 {
		w.put(t)
		key := worldKeys[w.rand.IntN(len(worldKeys))]
		states := w.pages[key]
		if len(states) == 0 {
			continue
		}
		unchanged := states[len(states)-1].lsn
		if w.rand.IntN(2) == 0 {
			unchanged = w.lsn
		}
		at, err := w.reader.At(ctx, Latest, unchanged)
		require.NoError(t, err)
		require.Equal(t, w.lsn, at.LSN)
		w.check(t, key, at)
	}
}

func TestReadersInParallel(t *testing.T) {
	w := newWorld(t, 5, 100*versionBytes)
	for range 500 {
		w.put(t)
	}
	last := w.lsn
	var readers sync.WaitGroup
	for i := range 4 {
		readers.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 2))
			for range 2000 {
				lsn := wal.LSN(worldStart + 1 + r.Uint64N(uint64(last-worldStart)))
				w.check(t, worldKeys[r.IntN(len(worldKeys))], At{LSN: lsn, unchanged: lsn})
			}
		})
	}
	readers.Wait()
}

func TestPositions(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, 6, 1<<20)
	for w.lsn < worldStart+0x5000 {
		w.put(t)
	}
	w.reader.o.WaitTimeout = time.Millisecond
	last := w.lsn

	at := func(want, unchanged wal.LSN) (wal.LSN, error) {
		a, err := w.reader.At(ctx, want, unchanged)
		return a.LSN, err
	}
	got, err := at(Latest, worldStart)
	require.NoError(t, err)
	require.Equal(t, last, got, "the newest there is")
	got, err = at(last+0x100000, worldStart)
	require.NoError(t, err, "nobody waits for WAL that does not concern the page")
	require.Equal(t, last, got)
	got, err = at(last-8, worldStart)
	require.NoError(t, err)
	require.Equal(t, last-8, got)
	got, err = at(worldStart+0x2000+24, worldStart+0x2000+24)
	require.NoError(t, err)
	require.Equal(t, wal.LSN(worldStart+0x2000), got, "behind a page header is the page's start")
	got, err = at(worldStart+40, worldStart+40)
	require.NoError(t, err)
	require.Equal(t, wal.LSN(worldStart), got)

	a, err := w.reader.At(ctx, last+0x100000, 0)
	require.NoError(t, err)
	require.Equal(t, At{LSN: last, unchanged: last}, a, "no word at all")

	for _, bad := range [][2]wal.LSN{{0, 0}, {0, 5}, {5, 6}} {
		_, err := at(bad[0], bad[1])
		require.ErrorIs(t, err, ErrRequest)
	}
	var wait *WaitError
	w.position.SetSource("safekeeper 3 (127.0.0.1:5454)")
	_, err = at(Latest, last+8)
	require.ErrorAs(t, err, &wait)
	require.Equal(t, [2]wal.LSN{last + 8, last}, [2]wal.LSN{wait.Wanted, wait.Last})
	require.WithinDuration(t, time.Now(), wait.Since, time.Hour)
	require.Contains(t, err.Error(), (last + 8).String())
	require.Contains(t, err.Error(), last.String()+" since 2")
	require.Contains(t, err.Error(), "from safekeeper 3 (127.0.0.1:5454)")

	cause := errors.New("stopped")
	w.position.Fail(cause)
	w.reader.o.WaitTimeout = time.Hour
	_, err = at(Latest, last+8)
	require.ErrorIs(t, err, cause)
}

func TestWaitingEnds(t *testing.T) {
	p := NewPosition(100)
	results := make(chan error, 3)
	for _, lsn := range []wal.LSN{150, 200, 300} {
		go func() { results <- p.Wait(context.Background(), lsn, time.Hour) }()
	}
	p.Advance(50)
	require.Equal(t, wal.LSN(100), p.Last(), "it never goes back")
	p.Advance(200)
	require.NoError(t, <-results)
	require.NoError(t, <-results)
	p.Fail(errors.New("no more"))
	require.ErrorContains(t, <-results, "no more")

	ctx, cancel := context.WithCancelCause(context.Background())
	p.Fail(nil)
	go func() { results <- p.Wait(ctx, 500, time.Hour) }()
	gone := errors.New("client is gone")
	cancel(gone)
	require.ErrorIs(t, <-results, gone)
	require.Empty(t, p.waiters)
}

// What lies below the floor is refused although it could be read, and so is what
// garbage collection has passed, but for pins.
func TestNothingBelowTheFloor(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, 7, 8<<20)
	for range 500 {
		w.put(t)
	}
	w.reader.o.Floor = w.lsn - 0x800
	var collected *CollectedError
	for _, lsn := range []wal.LSN{worldStart + 8, w.reader.o.Floor - 1} {
		_, err := w.reader.Exactly(ctx, lsn)
		require.ErrorAs(t, err, &collected)
		require.Equal(t, w.reader.o.Floor, collected.Oldest)
	}
	_, err := w.reader.Exactly(ctx, w.reader.o.Floor)
	require.NoError(t, err)

	w.reader.o.Floor = 0
	pinned := wal.LSN(worldStart + 0x1000)
	require.NoError(t, w.timeline.Pin(ctx, "reader", pinned, time.Time{}))
	require.NoError(t, w.timeline.Flush(ctx))
	cutoff, err := w.timeline.Collect(w.lsn - 0x400)
	require.NoError(t, err)
	_, err = w.reader.Exactly(ctx, cutoff-8)
	require.ErrorAs(t, err, &collected)
	require.Equal(t, cutoff, collected.Oldest)
	at, err := w.reader.Exactly(ctx, pinned)
	require.NoError(t, err)
	for _, key := range worldKeys {
		w.check(t, key, at)
	}
}

func TestRelations(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, 8, 1<<20)
	other := walrecord.RelFile{Tablespace: 1664, Relation: 1262}
	put := func(entries ...pagestore.Entry) At {
		w.lsn += 8
		for i := range entries {
			entries[i].LSN = w.lsn
		}
		require.NoError(t, w.timeline.Put(ctx, pagestore.Batch{Entries: entries, LSN: w.lsn}))
		w.position.Advance(w.lsn)
		at, err := w.reader.Exactly(ctx, Latest)
		require.NoError(t, err)
		return at
	}
	size := func(rel walrecord.RelFile, fork walrecord.Fork, n uint32) pagestore.Entry {
		return pagestore.Entry{Key: pagekey.RelationSize(rel, fork), Kind: pagestore.Image, Value: pagekey.AppendSize(nil, n)}
	}
	before := put()
	at := put(size(worldRel, walrecord.ForkMain, 3), size(worldRel, walrecord.ForkVM, 1), size(other, walrecord.ForkMain, 0))

	n, err := w.reader.Size(ctx, worldRel, walrecord.ForkMain, at)
	require.NoError(t, err)
	require.Equal(t, uint32(3), n)
	_, err = w.reader.Size(ctx, worldRel, walrecord.ForkMain, before)
	require.ErrorIs(t, err, ErrNoRelation)
	exists, err := w.reader.Exists(ctx, other, walrecord.ForkMain, at)
	require.NoError(t, err)
	require.True(t, exists, "an empty relation exists")
	exists, err = w.reader.Exists(ctx, other, walrecord.ForkFSM, at)
	require.NoError(t, err)
	require.False(t, exists)

	bytes, err := w.reader.DatabaseSize(ctx, 5, at)
	require.NoError(t, err)
	require.Equal(t, int64(4*8192), bytes)
	var all []Relation
	require.NoError(t, w.reader.Relations(ctx, pagekey.Relations(), at, func(r Relation) error {
		all = append(all, r)
		return nil
	}))
	require.Equal(t, []Relation{
		{worldRel, walrecord.ForkMain, 3}, {worldRel, walrecord.ForkVM, 1}, {other, walrecord.ForkMain, 0},
	}, all)

	for _, block := range []uint32{2, 3, 1 << 31} {
		p, err := w.reader.Page(ctx, worldRel, walrecord.ForkMain, block, at)
		require.NoError(t, err)
		require.True(t, p.IsNew(), "holes and what lies behind the end are zeroes")
	}
	_, err = w.reader.Page(ctx, worldRel, walrecord.ForkInit, 0, at)
	require.ErrorIs(t, err, ErrNoRelation)
	require.Nil(t, w.reader.Cached(worldRel, walrecord.ForkMain, 2, at))
}

func TestSLRUSegments(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, 9, 1<<20)
	for range 300 {
		w.put(t)
	}
	_, err := w.reader.SLRUSegment(ctx, pagekey.CLOG, 0, At{LSN: w.lsn, unchanged: w.lsn}, nil)
	require.ErrorIs(t, err, ErrNoSegment)
	w.lsn += 8
	require.NoError(t, w.timeline.Put(ctx, pagestore.Batch{LSN: w.lsn, Entries: []pagestore.Entry{
		{Key: pagekey.SLRUSegment(pagekey.CLOG, 0), LSN: w.lsn, Kind: pagestore.Image, Value: pagekey.AppendSize(nil, 14)},
	}}))
	w.position.Advance(w.lsn)
	at, err := w.reader.Exactly(ctx, w.lsn)
	require.NoError(t, err)
	pages, err := w.reader.SLRUSegment(ctx, pagekey.CLOG, 0, at, nil)
	require.NoError(t, err)
	require.Len(t, pages, 14*8192)
	for i := range 14 {
		want := w.at(pagekey.SLRUPage(pagekey.CLOG, uint64(i)), w.lsn)
		if want == nil {
			want = &zeroPage
		}
		require.Equal(t, want[:], pages[i*8192:(i+1)*8192])
	}
	var seen []uint32
	require.NoError(t, w.reader.SLRUSegments(ctx, pagekey.CLOG, at, func(segment, pages uint32) error {
		seen = append(seen, segment, pages)
		return nil
	}))
	require.Equal(t, []uint32{0, 14}, seen)
}

func TestHistoryOfAPage(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t, 10, 1<<20)
	sizes := pagestore.Entry{
		Key: pagekey.RelationSize(worldRel, walrecord.ForkVM), LSN: w.lsn + 8, Kind: pagestore.Image, Value: pagekey.AppendSize(nil, 12),
	}
	w.lsn += 8
	require.NoError(t, w.timeline.Put(ctx, pagestore.Batch{LSN: w.lsn, Entries: []pagestore.Entry{sizes}}))
	for range 500 {
		w.put(t)
	}
	at, err := w.reader.Exactly(ctx, w.lsn)
	require.NoError(t, err)
	for block := range uint32(12) {
		var want, got []wal.LSN
		for _, s := range w.pages[pagekey.Block(worldRel, walrecord.ForkVM, block)] {
			if s.page == nil {
				want = nil // What it was before is another page's history.
			} else {
				want = append([]wal.LSN{s.lsn}, want...)
			}
		}
		require.NoError(t, w.reader.History(ctx, worldRel, walrecord.ForkVM, block, at, func(c Change) error {
			got = append(got, c.LSN)
			return nil
		}))
		require.Equal(t, want, got)
	}
	stop := errors.New("enough")
	w.lsn += 8
	entry := pagestore.Entry{Key: pagekey.Block(worldRel, walrecord.ForkVM, 0), LSN: w.lsn, Kind: pagestore.Image, Value: pagekey.AppendPage(nil, &zeroPage)}
	require.NoError(t, w.timeline.Put(ctx, pagestore.Batch{LSN: w.lsn, Entries: []pagestore.Entry{entry}}))
	at = At{LSN: w.lsn, unchanged: w.lsn}
	require.ErrorIs(t, w.reader.History(ctx, worldRel, walrecord.ForkVM, 0, at, func(Change) error { return stop }), stop)
}
