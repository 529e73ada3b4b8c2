package shmqueue

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Attached is a consumer's end of a queue of another process. It has one slot,
// which Register lends to one Consumer after the other.
type Attached struct {
	c       *consumer
	memory  []byte
	page    []byte
	wake    *os.File
	bell    *bell // the producer's
	woken   chan struct{}
	revoked chan struct{}
	lent    atomic.Bool
	done    sync.WaitGroup
}

// Attach takes over what another process's Shared granted: files in the order of
// Grant.Files, and the slot. It closes files, also when it fails. ErrLayout says
// that they are not what they should be, ErrRevoked that the slot is no longer
// the caller's.
func Attach(files []*os.File, id SlotID) (*Attached, error) {
	if len(files) != Files || id.Index >= MaxSlots {
		for _, f := range files {
			_ = f.Close()
		}
		return nil, fmt.Errorf("%w: %d descriptors for slot %d", ErrLayout, len(files), id.Index)
	}
	a := &Attached{woken: make(chan struct{}, 1), revoked: make(chan struct{})}
	if err := a.open(files, id); err != nil {
		err = fmt.Errorf("attach to the queue: %w", err)
		if a.wake != nil {
			err = errors.Join(err, a.wake.Close())
		}
		return nil, errors.Join(err, a.free())
	}
	a.done.Go(a.listen)
	return a, nil
}

func (a *Attached) open(files []*os.File, id SlotID) (err error) {
	defer files[fileMemory].Close() //nolint:errcheck // Mapped, or given up.
	defer files[fileSlot].Close()   //nolint:errcheck // Mapped, or given up.
	if a.wake, err = polled(files[fileWake]); err != nil {
		return errors.Join(err, files[fileSpace].Close())
	}
	space, err := polled(files[fileSpace])
	if err != nil {
		return err
	}
	if a.bell, err = newBell(space); err != nil {
		return errors.Join(err, space.Close())
	}
	w, err := a.mapWindow(files[fileMemory])
	if err != nil {
		return err
	}
	return a.mapSlot(files[fileSlot], w, id)
}

func (a *Attached) mapWindow(f *os.File) (*window, error) {
	size, err := isSealed(f)
	if err != nil {
		return nil, err
	}
	if size < headerSize || size > maxSize+maxSize/64 {
		return nil, fmt.Errorf("%w: %d bytes", ErrLayout, size)
	}
	if a.memory, err = mapMemory(f, size, false); err != nil {
		return nil, err
	}
	var h header
	if err := h.decode(a.memory, size); err != nil {
		return nil, err
	}
	now, err := machineClock()
	if err != nil {
		return nil, err
	}
	return windowOn(a.memory, &h, h.clock-(now-Now())), nil
}

func (a *Attached) mapSlot(f *os.File, w *window, id SlotID) error {
	size, err := isSealed(f)
	if err != nil {
		return err
	}
	if size != pageSize {
		return fmt.Errorf("%w: page of %d bytes", ErrLayout, size)
	}
	if a.page, err = mapMemory(f, size, true); err != nil {
		return err
	}
	h := slotHeader{queue: w.generation, id: id}
	if err := h.check(a.page); err != nil {
		return err
	}
	a.c = &consumer{w: w, words: wordsOn(a.page), line: &w.table[id.Index], id: id, wake: a.woken, revoked: a.revoked}
	if !a.c.owner() {
		return ErrRevoked
	}
	return nil
}

// listen passes wake-ups on, and looks now and then should one be lost.
func (a *Attached) listen() {
	var count [8]byte
	for revoked := false; ; {
		_ = a.wake.SetReadDeadline(time.Now().Add(lookAgain))
		_, err := a.wake.Read(count[:])
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		if !revoked && !a.c.owner() {
			revoked = true
			close(a.revoked)
		}
		signal(a.woken)
	}
}

// ID names the slot.
func (a *Attached) ID() SlotID { return a.c.id }

// Register lends the slot, to one consumer at a time: ErrNoSlot says that
// another has it. The consumer's Close gives it back to a, not to the producer.
func (a *Attached) Register() (Consumer, error) {
	if !a.lent.CompareAndSwap(false, true) {
		return nil, ErrNoSlot
	}
	if !a.c.owner() {
		a.lent.Store(false)
		return nil, ErrRevoked
	}
	c := *a.c
	c.freed = func() {
		if c.w.needSpace.Load() != 0 {
			a.bell.ring()
		}
	}
	var once sync.Once
	c.close = func() {
		once.Do(func() {
			c.Unpin()
			a.lent.Store(false)
		})
	}
	return &c, nil
}

// Close leaves the queue. No consumer and no frame may be in use any more. The
// slot stays taken until the producer's Reap.
func (a *Attached) Close() error {
	err := a.wake.Close()
	a.done.Wait()
	return errors.Join(err, a.free())
}

func (a *Attached) free() error {
	var all error
	for _, p := range [][]byte{a.memory, a.page} {
		if p != nil {
			all = errors.Join(all, unmap(p))
		}
	}
	a.memory, a.page = nil, nil
	if a.bell != nil {
		a.bell.close()
	}
	return all
}
