package shmqueue

import (
	"errors"
	"fmt"
	"os"
	"sync"
)

// Files is the number of descriptors of a Grant.
const Files = 4

// What the descriptors of a Grant are, in this order.
const (
	fileMemory = iota // the queue, to read
	fileSlot          // the slot's page, to write
	fileWake          // eventfd that the producer rings
	fileSpace         // eventfd that the consumer rings
)

// Shared is the queue between processes: the producer's end of it. It is a Local
// whose memory others can map to read, and hands out slots to this process
// (Register) and to others (Grant).
//
// The memory is new for each Shared and never handed on to the next: a producer
// that was stopped may still store into it when it goes on.
type Shared struct {
	Local
	file   *os.File
	memory []byte
	pages  []byte // of the slots
	space  *os.File
	done   sync.WaitGroup
}

var _ Producer = (*Shared)(nil)

// Grant is a slot for a consumer in another process.
type Grant struct {
	// ID names the slot; Attach takes it, and Reap.
	ID SlotID
	// Files are to be passed to the other process, in this order: as ExtraFiles of
	// a command or by SCM_RIGHTS. They belong to the caller, who closes them once
	// passed.
	Files [Files]*os.File
}

// Close closes the descriptors. The slot stays.
func (g *Grant) Close() error {
	var all error
	for _, f := range g.Files {
		if f != nil {
			all = errors.Join(all, f.Close())
		}
	}
	return all
}

// Create makes an empty queue between processes that begins at o.Start. Close
// ends it; Free gives its memory back.
func Create(o Options) (*Shared, error) {
	size, err := RingSize(o.Size)
	if err != nil {
		return nil, err
	}
	h := header{
		version: version, offset: uint32(layoutOf(size).data), generation: newGeneration(), size: uint64(size),
		blockSize: BlockSize, slots: MaxSlots, start: o.Start,
	}
	now, err := machineClock()
	if err != nil {
		return nil, err
	}
	h.clock = now - Now()
	q := new(Shared)
	if err := q.makeMemory(&h); err != nil {
		return nil, errors.Join(err, q.Free())
	}
	q.init(windowOn(q.memory, &h, 0), func(i int) *slotWords { return wordsOn(q.page(uint32(i))) }, o)
	q.anew = func(i uint32) error { return replace(q.page(i), nil) }
	q.done.Go(q.forwardSpace)
	return q, nil
}

// makeMemory makes, writes and seals the memory, and the eventfd.
func (q *Shared) makeMemory(h *header) (err error) {
	total := layoutOf(int(h.size)).total
	if q.file, err = createMemory("walhaven-queue", total); err != nil {
		return err
	}
	if q.memory, err = mapMemory(q.file, total, true); err != nil {
		return err
	}
	h.encode(q.memory)
	if err := seal(q.file, true); err != nil {
		return err
	}
	if q.pages, err = anonymous(MaxSlots * pageSize); err != nil {
		return err
	}
	q.space, err = newEvent()
	return err
}

func (q *Shared) page(i uint32) []byte { return q.pages[i*pageSize : (i+1)*pageSize] }

// forwardSpace passes on what consumers in other processes ring.
func (q *Shared) forwardSpace() {
	var count [8]byte
	for {
		if _, err := q.space.Read(count[:]); err != nil {
			return
		}
		q.freed()
	}
}

// Grant hands out a slot to a consumer in another process. The slot is taken
// until Reap.
func (q *Shared) Grant() (*Grant, error) {
	g := new(Grant)
	id, _, err := q.take(func(id SlotID, s *slot) error { return q.furnish(g, id, s) })
	if err != nil {
		return nil, errors.Join(fmt.Errorf("grant a slot of the queue: %w", err), g.Close())
	}
	g.ID = id
	return g, nil
}

// furnish makes the descriptors of g, and the slot ready.
func (q *Shared) furnish(g *Grant, id SlotID, s *slot) (err error) {
	if g.Files[fileMemory], err = forReading(q.file); err != nil {
		return err
	}
	if g.Files[fileSlot], err = q.newPage(id); err != nil {
		return err
	}
	if g.Files[fileSpace], err = duplicate(q.space); err != nil {
		return err
	}
	wake, err := newEvent()
	if err != nil {
		return err
	}
	b, err := newBell(wake)
	if err != nil {
		return errors.Join(err, wake.Close())
	}
	if g.Files[fileWake], err = duplicate(wake); err != nil {
		return errors.Join(err, wake.Close())
	}
	s.bell.Store(b)
	return nil
}

// newPage makes a page for a slot and puts it in the place of the one before: a
// consumer that had the slot once has another.
func (q *Shared) newPage(id SlotID) (*os.File, error) {
	f, err := createMemory("walhaven-slot", pageSize)
	if err != nil {
		return nil, err
	}
	err = func() error {
		p, err := mapMemory(f, pageSize, true)
		if err != nil {
			return err
		}
		h := slotHeader{queue: q.w.generation, id: id}
		h.encode(p)
		wordsOn(p).pin.Store(noPin)
		return errors.Join(unmap(p), seal(f, false), replace(q.page(id.Index), f))
	}()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Revoke takes a slot from its consumer, which is told. It stays taken until
// Reap.
func (q *Shared) Revoke(id SlotID) {
	n := q.revoke(func(s *slot) bool {
		return id.Index < MaxSlots && s == &q.slots[id.Index] && s.generation == id.Generation
	})
	q.revokes.Add(uint64(n))
}

// Reap gives a slot that was granted back. The process that had it must be gone
// and waited for: what it pinned may be overwritten from now on.
func (q *Shared) Reap(id SlotID) {
	q.give(id)
	q.freed()
}

// Verify is Local's, and checks the header as well, which those who attach read.
func (q *Shared) Verify() error {
	var h header
	if err := h.decode(q.memory, int64(len(q.memory))); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if h.generation != q.w.generation {
		return fmt.Errorf("%w: generation of its header", ErrCorrupt)
	}
	return q.Local.Verify()
}

// Close implements Producer. The memory stays, for frames of this process may
// still be in use.
func (q *Shared) Close() {
	q.Local.Close()
	_ = q.space.Close()
	q.done.Wait()
}

// Free gives everything back, after Close. Nobody in this process may use the
// queue, its consumers or their frames any more. Other processes keep theirs.
func (q *Shared) Free() error {
	var all error
	for i := range q.slots {
		if b := q.slots[i].bell.Swap(nil); b != nil {
			b.close()
		}
	}
	for _, p := range [][]byte{q.memory, q.pages} {
		if p != nil {
			all = errors.Join(all, unmap(p))
		}
	}
	q.memory, q.pages = nil, nil
	if q.file != nil {
		all = errors.Join(all, q.file.Close())
	}
	return all
}
