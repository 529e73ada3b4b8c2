package shmqueue

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"github.com/walhaven/walhaven/wal"
)

// What lies where in the shared memory; docs/shared-memory-queue.md draws it.
// Numbers have the byte order of the machine: both ends are on one.
const (
	magic     = 0x45554555514c4157 // "WALQUEUE" where the lowest byte comes first
	slotMagic = 0x544f4c53514c4157 // "WALQSLOT"
	version   = 1

	pageSize     = 4096
	linesOffset  = pageSize
	tableOffset  = 2 * pageSize
	blocksOffset = 3 * pageSize
	wordsOffset  = 128 // in the page of a slot

	headerSize = 64
	maxSize    = 1 << 40
)

// ErrLayout says that memory handed over is not a queue of this version, or is
// damaged.
var ErrLayout = errors.New("memory is not a queue that can be read")

// header is the first page of the queue's memory. It does not change.
type header struct {
	version    uint32
	offset     uint32 // of the bytes
	generation uint64 // of the queue: random, never 0
	size       uint64 // of the ring in bytes
	blockSize  uint32
	slots      uint32
	start      wal.LSN
	clock      int64 // the producer's zero of Now, on the clock of the machine
}

func (h *header) encode(p []byte) {
	e := binary.NativeEndian
	e.PutUint64(p[0:], magic)
	e.PutUint32(p[8:], h.version)
	e.PutUint32(p[12:], h.offset)
	e.PutUint64(p[16:], h.generation)
	e.PutUint64(p[24:], h.size)
	e.PutUint32(p[32:], h.blockSize)
	e.PutUint32(p[36:], h.slots)
	e.PutUint64(p[40:], uint64(h.start))
	e.PutUint64(p[48:], uint64(h.clock))
	e.PutUint32(p[56:], 0)
	e.PutUint32(p[60:], Checksum(p[:60]))
}

// decode reads and checks p, of which it makes a copy first: the other side may
// change it meanwhile. memory is the length of the whole in bytes.
func (h *header) decode(shared []byte, memory int64) error {
	if len(shared) < headerSize {
		return fmt.Errorf("%w: %d bytes", ErrLayout, len(shared))
	}
	var p [headerSize]byte
	copy(p[:], shared)
	e := binary.NativeEndian
	switch {
	case e.Uint64(p[0:]) != magic:
		return fmt.Errorf("%w: magic %#x", ErrLayout, e.Uint64(p[0:]))
	case e.Uint32(p[8:]) != version:
		return fmt.Errorf("%w: version %d, not %d", ErrLayout, e.Uint32(p[8:]), version)
	case e.Uint32(p[60:]) != Checksum(p[:60]):
		return fmt.Errorf("%w: checksum of its header", ErrLayout)
	}
	*h = header{
		version: version, offset: e.Uint32(p[12:]), generation: e.Uint64(p[16:]), size: e.Uint64(p[24:]),
		blockSize: e.Uint32(p[32:]), slots: e.Uint32(p[36:]), start: wal.LSN(e.Uint64(p[40:])), clock: int64(e.Uint64(p[48:])),
	}
	if h.size > maxSize || h.size < MinSize || h.size&(h.size-1) != 0 {
		return fmt.Errorf("%w: ring of %d bytes", ErrLayout, h.size)
	}
	want := layoutOf(int(h.size))
	if h.generation == 0 || h.blockSize != BlockSize || h.slots != MaxSlots || h.offset != uint32(want.data) || memory != want.total {
		return fmt.Errorf("%w: blocks of %d, %d slots, bytes at %d of %d", ErrLayout, h.blockSize, h.slots, h.offset, memory)
	}
	return nil
}

// layout says where the bytes begin and end in the memory of a queue.
type layout struct {
	data  int
	total int64
}

// layoutOf takes the size of a ring, a power of two and at least MinSize.
func layoutOf(size int) layout {
	blocks := size / BlockSize * int(unsafe.Sizeof(descriptor{}))
	data := blocksOffset + (blocks+pageSize-1)&^(pageSize-1)
	return layout{data: data, total: int64(data) + int64(size)}
}

// windowOn lays a window over memory whose header was checked. offset is what
// makes a stamp of the producer a time of this process.
func windowOn(memory []byte, h *header, offset int64) *window {
	return &window{
		lines: (*lines)(unsafe.Pointer(&memory[linesOffset])),
		table: unsafe.Slice((*slotLine)(unsafe.Pointer(&memory[tableOffset])), MaxSlots),
		data:  memory[h.offset : int(h.offset)+int(h.size)],
		desc:  unsafe.Slice((*descriptor)(unsafe.Pointer(&memory[blocksOffset])), h.size/BlockSize),
		mask:  h.size - 1, start: h.start, generation: h.generation, clock: offset,
	}
}

// newGeneration returns a number that no other queue has.
func newGeneration() uint64 {
	var p [8]byte
	for {
		rand.Read(p[:]) //nolint:errcheck // It never fails.
		if g := binary.NativeEndian.Uint64(p[:]); g != 0 {
			return g
		}
	}
}

// slotHeader is the beginning of a slot's page: whose it is. It does not change.
type slotHeader struct {
	queue uint64 // generation of the queue
	id    SlotID
}

const slotHeaderSize = 32

func (h *slotHeader) encode(p []byte) {
	e := binary.NativeEndian
	e.PutUint64(p[0:], slotMagic)
	e.PutUint64(p[8:], h.queue)
	e.PutUint32(p[16:], h.id.Index)
	e.PutUint32(p[20:], h.id.Generation)
	e.PutUint32(p[24:], 0)
	e.PutUint32(p[28:], Checksum(p[:28]))
}

// check compares a slot's page with what it should say.
func (h *slotHeader) check(shared []byte) error {
	var want, got [slotHeaderSize]byte
	copy(got[:], shared)
	h.encode(want[:])
	if got != want {
		return fmt.Errorf("%w: the page is not that of slot %d, generation %d", ErrLayout, h.id.Index, h.id.Generation)
	}
	return nil
}

func wordsOn(page []byte) *slotWords { return (*slotWords)(unsafe.Pointer(&page[wordsOffset])) }
