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
	// value is the size of the largest value of the store. A record becomes at most
	// one of its own size, the state of a prepared transaction, so that no value is
	// refused whose record was taken.
	value int64
}

// codeBytes are what the program's file takes in memory.
const codeBytes = 32 << 20

// baseBytes are sessions, WAL on its way, and the working memory of ingest,
// flushes and compaction.
const baseBytes = 48 << 20

// memLayers is how many in-memory layers all timelines together have.
const memLayers = 4

// leastRecord is what record is at least, whatever the memory, in bytes: a commit
// has some 1,280 for each dropped table with a key and a TOAST table, and 4 for each
// subtransaction.
const leastRecord = 8 << 20

// Sizes in bytes of values. One is put together with what else a batch has.
const (
	leastValue = 16 << 20
	mostValue  = 1 << 30 // of the store; PostgreSQL's records are smaller
	besideIt   = 2 << 20
)

// divideMemory gives a fifth of what can be divided to each of the caches, and
// three tenths to what is not in a layer yet. The rest is what lets the garbage
// collector run now and then, and not all the time. With little memory they get
// less, so that leastRecord remains.
func divideMemory(total int64) memory {
	m := memory{heap: total - codeBytes}
	most := (m.heap - outsideHeap - baseBytes/2 - 4*leastRecord) * 2 / 7 // Two caches, and three halves for layers.
	share := max(min((m.heap-baseBytes)/5, most), 0)
	m.pages, m.blocks, m.layer = share, share, share*3/8
	if outsideHeap > 0 {
		m.heap -= m.blocks + outsideHeap
	}
	m.record = (m.heap - m.live()) / 4
	m.value = min(max(leastValue, m.record+besideIt), mostValue)
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
