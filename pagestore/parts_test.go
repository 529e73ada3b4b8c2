package pagestore

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
)

// parted is a timeline that takes LSNs in many batches, each far larger than
// memory, and its model.
type parted struct {
	t      *testing.T
	disk   *vfs.MemFS
	random *rand.Rand
	store  *Store
	tl     *Timeline
	h      *history
}

func (p *parted) open() {
	p.t.Helper()
	var err error
	p.store, err = Open(testDir, smallOptions(p.disk))
	require.NoError(p.t, err)
	if p.h == nil {
		p.h = &history{start: 10, last: 10, cutoff: 10}
		_, err = p.store.Create(timelineID(0), 10)
		require.NoError(p.t, err)
	}
	p.tl, err = p.store.Timeline(timelineID(0))
	require.NoError(p.t, err)
}

// check compares everything at the newest LSNs.
func (p *parted) check() {
	p.t.Helper()
	for _, lsn := range []wal.LSN{p.h.last, p.h.last - 1} {
		if !p.h.readable(lsn) {
			continue
		}
		got := map[Key][]byte{}
		err := p.tl.Scan(p.t.Context(), AllKeys, lsn, ScanOptions{}, func(k Key, v *Value) (bool, error) {
			got[k] = apply(v)
			return true, nil
		})
		require.NoError(p.t, err)
		require.Equal(p.t, p.h.at(lsn), got, lsn)
	}
	require.Equal(p.t, p.h.last, p.tl.LastLSN())
	var v Value
	require.ErrorIs(p.t, p.tl.Get(p.t.Context(), testKey(1), p.h.last+1, &v), ErrNotYet)
}

func (p *parted) value() []byte {
	return fmt.Appendf(nil, "%d %0*d", p.random.IntN(1000), 10+p.random.IntN(60), 7)
}

// parts are the batches of an LSN: a drop of everything below a key, then changes
// of keys, each of which is in one batch only.
func (p *parted) parts(lsn wal.LSN) (all []Batch) {
	first := Batch{LSN: lsn, More: true}
	first.Entries = append(first.Entries, Entry{Key: testKey(0), End: testKey(p.random.IntN(100) + 1), LSN: lsn, Kind: Drop})
	all = append(all, first)
	for k := range 200 {
		if last := &all[len(all)-1]; len(last.Entries) > 8 {
			all = append(all, Batch{LSN: lsn, More: true})
		}
		b := &all[len(all)-1]
		b.Entries = append(b.Entries, Entry{Key: testKey(k), LSN: lsn, Kind: Image, Value: p.value()})
		if p.random.IntN(3) == 0 {
			b.Entries = append(b.Entries, Entry{Key: testKey(k), LSN: lsn, Kind: Delta, Value: p.value()})
		}
	}
	all[len(all)-1].More = false
	return all
}

func (p *parted) put(b Batch) { require.NoError(p.t, p.tl.Put(p.t.Context(), b)) }

// single puts an ordinary batch.
func (p *parted) single() {
	b := Batch{LSN: p.h.last + wal.LSN(1+p.random.IntN(3))}
	for range 1 + p.random.IntN(10) {
		b.Entries = append(b.Entries, Entry{Key: testKey(p.random.IntN(220)), LSN: b.LSN, Kind: Image, Value: p.value()})
	}
	p.put(b)
	p.h.entries, p.h.last = append(p.h.entries, b.Entries...), b.LSN
}

// many puts an LSN in parts. On its way it may be given up and begun again, or a
// crash may come; nothing of it is ever seen before its end.
func (p *parted) many() {
	lsn := p.h.last + 5
	all := p.parts(lsn)
	for i := 0; i < len(all); i++ {
		p.put(all[i])
		if i == len(all)-1 {
			break
		}
		switch p.random.IntN(40) {
		case 0:
			require.NoError(p.t, p.tl.Abandon(p.t.Context()))
			i = -1
		case 1:
			p.crash()
			i = -1
		case 2:
			require.NoError(p.t, p.tl.Compact(p.t.Context()))
		case 3:
			require.NoError(p.t, p.tl.Flush(p.t.Context()))
		case 4:
			require.ErrorIs(p.t, p.tl.Put(p.t.Context(), Batch{LSN: lsn - 1}), ErrOrder)
			require.ErrorIs(p.t, p.tl.Put(p.t.Context(), Batch{LSN: lsn + 1, More: true}), ErrOrder)
		}
		if p.random.IntN(5) == 0 {
			p.check()
		}
	}
	for _, b := range all {
		p.h.entries = append(p.h.entries, b.Entries...)
	}
	p.h.last = lsn
}

// crash loses what was not synced and puts again what had not been flushed.
func (p *parted) crash() {
	p.disk = p.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: p.random.IntN(2) * 100, RNG: p.random})
	require.NoError(p.t, p.store.Close())
	p.open()
	flushed := p.tl.FlushedLSN()
	require.LessOrEqual(p.t, flushed, p.h.last)
	again := p.h.entries
	for len(again) > 0 && again[0].LSN <= flushed {
		again = again[1:]
	}
	for len(again) > 0 {
		n := 1
		for n < len(again) && again[n].LSN == again[0].LSN {
			n++
		}
		for from := 0; from < n; { // By keys, for a batch has a limit.
			to := min(from+8, n)
			for to < n && again[to].Key == again[to-1].Key {
				to++
			}
			p.put(Batch{LSN: again[0].LSN, Entries: again[from:to], More: to < n})
			from = to
		}
		again = again[n:]
	}
	if p.tl.LastLSN() < p.h.last {
		p.put(Batch{LSN: p.h.last})
	}
	p.check()
}

// Changes of one LSN come in many batches, of which nothing is seen, and nothing
// survives, before the last one.
func TestOneLSNInParts(t *testing.T) {
	for seed := range uint64(6) {
		p := &parted{t: t, disk: vfs.NewCrashableMem(), random: rand.New(rand.NewPCG(seed, 3))}
		p.open()
		for range 12 {
			for range p.random.IntN(5) {
				p.single()
			}
			p.many()
			p.check()
			switch p.random.IntN(4) {
			case 0:
				p.crash()
			case 1:
				cutoff, err := p.tl.Collect(p.h.last - 1)
				require.NoError(t, err)
				p.h.cutoff = max(p.h.cutoff, cutoff)
				require.NoError(t, p.tl.Compact(t.Context()))
				p.check()
			case 2:
				_, err := p.tl.CompactIfWorthwhile(t.Context())
				require.NoError(t, err)
				p.check()
			}
		}
		require.NoError(t, p.tl.Flush(t.Context()))
		require.NoError(t, p.tl.Compact(t.Context()))
		p.check()
		require.NoError(t, p.store.Close())
	}
}
