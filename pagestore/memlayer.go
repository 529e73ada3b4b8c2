package pagestore

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/walhaven/walhaven/wal"
)

const (
	memChunk = 1 << 20 // bytes of an arena chunk
	memSlots = 4096    // entries of a slab
	// memAtOnce is how many entries are put before readers have their turn.
	memAtOnce = 128
	// recentKeys is how many keys are known without a look into the map: changes of a
	// page follow each other.
	recentKeys = 16
	// entryOverhead is what an entry takes beside its value, with its share of
	// the map of keys.
	entryOverhead = 96
)

// memEntry is one entry of a memLayer. It holds no pointer, so that the garbage
// collector need not look at millions of them.
type memEntry struct {
	lsn   wal.LSN
	chunk uint32 // of the kind and the value
	off   uint32
	size  uint32
	older uint32 // 1 + number of the entry of the same key before this one
	ord   uint16
	kind  Kind
}

// memHead is where the entries of a key begin.
type memHead struct {
	newest uint32 // 1 + its number
	// weight is what the deltas above the newest base in this layer cost to read.
	weight uint32
}

// memKey is a key and where the chain of its entries begins.
type memKey struct {
	Key
	number uint32 // in heads
}

// memLayer is the in-memory layer: values in an arena, entries in slabs, a chain
// of entries for each key, newest first. One goroutine puts, any number read;
// once frozen it is immutable.
type memLayer struct {
	from  wal.LSN // everything in it lies above
	to    wal.LSN // end of the last batch; guarded by mu until frozen
	since time.Time
	part  bool // it has a part of the changes at to; set when frozen

	refs atomic.Int64 // layer maps that hold it; the last one to go takes its memory

	// Of the one who puts.
	recent   [recentKeys]memKey // their numbers are 1 higher
	maxChain uint32             // weight at which a chain is long
	long     []memKey           // keys whose chains have become that

	sorting sync.Mutex // taken before mu
	sorted  []memKey   // keys in order, those had when it was made; guarded by sorting

	mu      sync.RWMutex
	numbers map[Key]uint32 // in heads
	heads   []memHead
	slabs   [][]memEntry
	entries uint32
	chunks  [][]byte
	size    int64
	drops   dropLog
	fresh   []memKey // keys that are not in sorted
	spare   memSpare // what is used before anything is asked of the runtime
}

func (m *memLayer) entry(n uint32) *memEntry { return &m.slabs[(n-1)/memSlots][(n-1)%memSlots] }

// stored is the kind and the value, as a layer has them.
func (m *memLayer) stored(e *memEntry) []byte {
	return m.chunks[e.chunk][e.off : e.off+e.size : e.off+e.size]
}

// store copies a kind and a value into the arena.
func (m *memLayer) store(kind Kind, value []byte) (chunk, off uint32) {
	last := len(m.chunks) - 1
	if last < 0 || cap(m.chunks[last])-len(m.chunks[last]) <= len(value) {
		m.chunks = append(m.chunks, m.spare.chunk(1+len(value)))
		last++
	}
	off = uint32(len(m.chunks[last]))
	m.chunks[last] = append(append(m.chunks[last], byte(kind)), value...)
	return uint32(last), off
}

// put adds a validated batch of that size. An error leaves the layer as it was up to
// the batch: entries above m.to are never read, but the caller must not go on.
// Readers need not wait for all of it.
func (m *memLayer) put(b *Batch, size int64) error {
	for part := range slices.Chunk(b.Entries, memAtOnce) {
		if err := m.putPart(part); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.size += size
	m.to = b.LSN
	return nil
}

func (m *memLayer) putPart(entries []Entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range entries {
		e := &entries[i]
		if e.Kind == Drop {
			m.drops.add(drop{KeyRange: KeyRange{e.Key, e.End}, lsn: e.LSN})
			continue
		}
		if err := m.add(e); err != nil {
			return err
		}
	}
	return nil
}

// number is the place of a key in heads, which is made when it is new.
func (m *memLayer) number(key *Key) uint32 {
	recent := &m.recent[(key[KeySize-1]^key[KeySize-9]^key[KeySize-5]<<2^key[0]<<3)%recentKeys]
	if recent.number != 0 && recent.Key == *key {
		return recent.number - 1
	}
	number, known := m.numbers[*key]
	if !known {
		number = uint32(len(m.heads))
		m.numbers[*key] = number
		m.heads = append(m.heads, memHead{})
		m.fresh = append(m.fresh, memKey{*key, number})
	}
	*recent = memKey{*key, number + 1}
	return number
}

func (m *memLayer) add(e *Entry) error {
	number := m.number(&e.Key)
	head := m.heads[number]
	slot := memEntry{lsn: e.LSN, size: 1 + uint32(len(e.Value)), older: head.newest, kind: e.Kind}
	if head.newest != 0 && m.entry(head.newest).lsn == e.LSN {
		before := m.entry(head.newest).ord
		if before == math.MaxUint16 {
			return fmt.Errorf("more than %d entries of key %s at %s: %w", math.MaxUint16, e.Key, e.LSN, ErrTooLarge)
		}
		slot.ord = before + 1
	}
	slot.chunk, slot.off = m.store(e.Kind, e.Value)
	if m.entries%memSlots == 0 {
		m.slabs = append(m.slabs, m.spare.slab())
	}
	last := len(m.slabs) - 1
	m.slabs[last] = append(m.slabs[last], slot)
	m.entries++
	m.heads[number] = memHead{newest: m.entries, weight: m.weigh(e, number, head.weight)}
	return nil
}

// weigh is what the chain of a key weighs with e on top. A chain that becomes long is
// remembered.
func (m *memLayer) weigh(e *Entry, number, before uint32) uint32 {
	if e.Kind != Delta {
		return 0
	}
	weight := before + deltaWeight(len(e.Value))
	if before < m.maxChain && weight >= m.maxChain {
		m.long = append(m.long, memKey{e.Key, number})
	}
	return weight
}

// top is the LSN of a key's newest entry if that is a delta which an image may follow.
func (m *memLayer) top(k memKey) (lsn wal.LSN, ok bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	e := m.entry(m.heads[k.number].newest)
	return e.lsn, e.kind == Delta && e.ord < math.MaxUint16
}

// cover puts an image on top of a key's chain and returns what it takes.
func (m *memLayer) cover(k memKey, lsn wal.LSN, image []byte) (size int64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	size = int64(len(image)) + entryOverhead
	m.size += size
	return size, m.add(&Entry{Key: k.Key, LSN: lsn, Kind: Image, Value: image})
}

// get gives v the entries of key from lsn downwards until it has enough.
func (m *memLayer) get(key Key, lsn, hidden wal.LSN, v *Value) (enough bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	number, known := m.numbers[key]
	if !known {
		return false
	}
	for n := m.heads[number].newest; n != 0; {
		e := m.entry(n)
		n = e.older
		if e.lsn > lsn {
			continue
		}
		if e.lsn < hidden {
			return true
		}
		if v.add(e.lsn, e.kind, m.stored(e)[1:]) {
			return true
		}
	}
	return false
}

// hides returns the newest drop at or below lsn that covers key.
func (m *memLayer) hides(key Key, lsn wal.LSN) wal.LSN {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if len(m.drops.all) == 0 {
		return 0
	}
	return m.drops.newest(key, lsn)
}

// bytes is what the layer takes in memory, roughly.
func (m *memLayer) bytes() int64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.size
}

// keys returns the keys in order. The slice is never changed afterwards. Others may
// read and put meanwhile.
func (m *memLayer) keys() []memKey {
	m.sorting.Lock()
	defer m.sorting.Unlock()
	m.mu.Lock()
	fresh := m.fresh
	m.fresh = nil
	m.mu.Unlock()
	if len(fresh) > 0 {
		slices.SortFunc(fresh, compareMemKeys)
		m.sorted = mergeMemKeys(m.sorted, fresh)
	}
	return m.sorted
}

func compareMemKeys(a, b memKey) int {
	for i := 0; i < KeySize; i += 8 {
		x, y := binary.BigEndian.Uint64(a.Key[i:]), binary.BigEndian.Uint64(b.Key[i:])
		if x != y {
			return cmp.Compare(x, y)
		}
	}
	return 0
}

// mergeMemKeys makes one of two lists of different keys in order.
func mergeMemKeys(a, b []memKey) []memKey {
	if len(a) == 0 {
		return b
	}
	merged := make([]memKey, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if compareMemKeys(a[0], b[0]) < 0 {
			merged, a = append(merged, a[0]), a[1:]
		} else {
			merged, b = append(merged, b[0]), b[1:]
		}
	}
	return append(append(merged, a...), b...)
}

// memAhead is how many entries a cursor looks up at once.
const memAhead = 32

// memCursor walks the entries of some sorted keys of a layer. They lie all over
// memory: it looks several of them up before it gives out the first, so that the
// waits for them overlap.
type memCursor struct {
	m       *memLayer
	keys    []memKey
	key     Key
	next    uint32 // entry of key that is not in ahead yet, 0 for none
	ahead   [memAhead]item
	n, at   int // entries in ahead, and which is the current one
	touched byte
}

func (m *memLayer) cursor(r KeyRange) *memCursor {
	keys := m.keys()
	compare := func(k memKey, to Key) int { return k.Compare(to) }
	lo, _ := slices.BinarySearchFunc(keys, r.Start, compare)
	hi, _ := slices.BinarySearchFunc(keys, r.End, compare)
	return newMemCursor(m, keys[lo:max(lo, hi)])
}

func newMemCursor(m *memLayer, keys []memKey) *memCursor { return &memCursor{m: m, keys: keys, at: -1} }

func (c *memCursor) advance() (bool, error) {
	if c.at++; c.at >= c.n {
		c.look()
	}
	return c.n > 0, nil
}

// look takes the next entries.
func (c *memCursor) look() {
	c.m.mu.RLock()
	defer c.m.mu.RUnlock()
	c.n, c.at = 0, 0
	for c.n < memAhead {
		if c.next == 0 {
			if len(c.keys) == 0 {
				break
			}
			c.key, c.next = c.keys[0].Key, c.m.heads[c.keys[0].number].newest
			c.keys = c.keys[1:]
		}
		e := c.m.entry(c.next)
		c.next = e.older
		c.ahead[c.n] = item{key: c.key, lsn: e.lsn, ord: e.ord, kind: e.kind, stored: c.m.stored(e)}
		c.n++
	}
	const memoryPage = 4096
	for i := range c.ahead[:c.n] {
		b := c.ahead[i].stored
		for at := 0; at < len(b); at += memoryPage {
			c.touched += b[at]
		}
	}
}

func (c *memCursor) item() *item  { return &c.ahead[c.at] }
func (c *memCursor) close() error { return nil }
