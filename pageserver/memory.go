package pageserver

// memory is what the parts of a pageserver may take of the memory that its
// process may take, in bytes.
type memory struct {
	heap   int64 // all that the runtime holds; the rest is the program's own code
	pages  int64 // materialised pages
	blocks int64 // blocks of layers
	// layer is the size of an in-memory layer. One that is filled and two that are
	// written out make a timeline fast; all timelines together have four.
	layer int64
	// record is the largest WAL record that is taken apart. It may need three times
	// as much for a moment, of what is else left to the garbage collector.
	record int64
}

// codeBytes are what the program's file takes in memory.
const codeBytes = 32 << 20

// baseBytes are sessions, WAL on its way, and the working memory of ingest,
// flushes and compaction.
const baseBytes = 48 << 20

// memLayers is how many in-memory layers all timelines together have.
const memLayers = 4

// divideMemory gives a fifth of what can be divided to each of the caches, and
// three tenths to what is not in a layer yet. The rest is what lets the garbage
// collector run now and then, and not all the time.
func divideMemory(total int64) memory {
	m := memory{heap: total - codeBytes}
	share := max(m.heap-baseBytes, 0) / 5
	m.pages, m.blocks, m.layer = share, share, share*3/8
	if outsideHeap > 0 {
		m.heap -= m.blocks + outsideHeap
	}
	m.record = (m.heap - m.live()) / 4
	return m
}

// live is what the heap holds when all is full.
func (m *memory) live() int64 {
	live := m.pages + memLayers*m.layer + baseBytes/2
	if outsideHeap == 0 {
		live += m.blocks
	}
	return live
}

// memoryFor is how much memory the process must be given to take a record of so
// many bytes apart.
func memoryFor(record int64) int64 {
	const step = 16 << 20
	total := int64(minMemory)
	for m := divideMemory(total); m.record < record; m = divideMemory(total) {
		total += step
	}
	return total
}
