package pagestore

import (
	"sync"
	"time"

	"github.com/walhaven/walhaven/wal"
)

// memSpare is memory of an in-memory layer that nobody reads any more.
type memSpare struct {
	numbers map[Key]uint32
	heads   []memHead
	chunks  [][]byte
	slabs   [][]memEntry
}

// chunk returns an empty chunk of an arena for at least size bytes.
func (s *memSpare) chunk(size int) []byte {
	if last := len(s.chunks) - 1; last >= 0 && size <= memChunk {
		c := s.chunks[last]
		s.chunks = s.chunks[:last]
		return c[:0]
	}
	return make([]byte, 0, max(memChunk, size))
}

// slab returns an empty slab of entries.
func (s *memSpare) slab() []memEntry {
	if last := len(s.slabs) - 1; last >= 0 {
		b := s.slabs[last]
		s.slabs = s.slabs[:last]
		return b[:0]
	}
	return make([]memEntry, 0, memSlots)
}

// memPool keeps the memory of one in-memory layer from its last reader to the next
// layer, so that while much is put the runtime need not clear and collect it again
// and again.
type memPool struct {
	maxChain uint32 // of the layers

	mu    sync.Mutex
	spare memSpare
}

// layer begins an in-memory layer.
func (p *memPool) layer(from wal.LSN, now time.Time) *memLayer {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := &memLayer{from: from, to: from, since: now, maxChain: p.maxChain, numbers: p.spare.numbers, heads: p.spare.heads[:0], spare: p.spare}
	p.spare, m.spare.numbers, m.spare.heads = memSpare{}, nil, nil
	if m.numbers == nil {
		m.numbers = map[Key]uint32{}
	}
	return m
}

// put takes the memory of a layer that nobody reads; without keep, what the pool
// has goes, too.
func (p *memPool) put(m *memLayer, keep bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.spare = (memSpare{}); !keep {
		return
	}
	clear(m.numbers)
	p.spare = memSpare{numbers: m.numbers, heads: m.heads, chunks: m.spare.chunks, slabs: append(m.spare.slabs, m.slabs...)}
	for _, c := range m.chunks {
		if cap(c) == memChunk {
			p.spare.chunks = append(p.spare.chunks, c)
		}
	}
}

// unref gives a reference up. The last one takes the layer's memory away.
func (m *memLayer) unref(t *Timeline) {
	if m.refs.Add(-1) == 0 {
		t.s.mems.put(m, t.hurries())
	}
}
