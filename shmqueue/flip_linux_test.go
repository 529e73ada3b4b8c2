package shmqueue

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/wal"
)

// field is a run of shared memory of which each bit is flipped in turn.
type field struct {
	name string
	mem  func(r *rig) []byte
}

func at(offset, n int) func(r *rig) []byte {
	return func(r *rig) []byte { return r.q.memory[offset : offset+n] }
}

// The ring of a rig has 8 blocks and has gone round. Its last block is half full.
const (
	flipSize  = 8 * BlockSize
	flipStart = 3*BlockSize + 1000
	flipFloor = 6 * BlockSize
	flipHead  = 13*BlockSize + 4567
)

// ofBlock is a field of the descriptor of the block at l.
func ofBlock(l wal.LSN, offset, n int) func(r *rig) []byte {
	return at(blocksOffset+int(l%flipSize/BlockSize)*int(unsafe.Sizeof(descriptor{}))+offset, n)
}

// ofWAL is n bytes of WAL at l.
func ofWAL(l wal.LSN, n int) func(r *rig) []byte {
	return at(layoutOf(flipSize).data+int(l%flipSize), n)
}

func ofSlot(offset, n int) func(r *rig) []byte {
	return func(r *rig) []byte { return r.a.page[offset : offset+n] }
}

// flips lists every field that is read while the queue lives, and bytes of WAL.
func flips() []field {
	list := []field{
		{"head", at(linesOffset, 8)},
		{"floor", at(linesOffset+128, 8)},
		{"closed", at(linesOffset+256, 8)},
		{"needSpace", at(linesOffset+384, 8)},
		{"slot generation", func(r *rig) []byte { return at(tableOffset+int(r.a.ID().Index)*64, 4)(r) }},
		{"slot revoked", func(r *rig) []byte { return at(tableOffset+int(r.a.ID().Index)*64+4, 4)(r) }},
		{"slot pin", ofSlot(wordsOffset, 8)},
		{"slot asked", ofSlot(wordsOffset+64, 8)},
		{"slot header", ofSlot(0, slotHeaderSize)},
		{"header", at(0, headerSize)},
	}
	for name, l := range map[string]wal.LSN{"oldest": flipFloor, "middle": 10 * BlockSize, "newest": 13 * BlockSize} {
		list = append(list,
			field{"start of the " + name + " block", ofBlock(l, 0, 8)}, field{"fill of the " + name + " block", ofBlock(l, 8, 8)},
			field{"generation of the " + name + " block", ofBlock(l, 16, 8)}, field{"stamp of the " + name + " block", ofBlock(l, 24, 8)},
			field{"first WAL of the " + name + " block", ofWAL(l, 8)}, field{"WAL inside the " + name + " block", ofWAL(l+4561, 12)})
	}
	return list
}

// rig is a queue with a reader as another process has it.
type rig struct {
	q *tap
	a *Attached
	c Consumer
}

func newRig(t *testing.T) *rig {
	r := &rig{q: &tap{t: t, revoked: make(chan SlotID, MaxSlots)}}
	var err error
	r.q.Shared, err = Create(Options{
		Size: flipSize, Start: flipStart, PinGrace: time.Millisecond, OnRevoke: func(id SlotID) { r.q.revoked <- id },
	})
	require.NoError(t, err)
	require.NoError(t, pump(context.Background(), &r.q.Local, flipHead-flipStart))
	require.NoError(t, r.enter())
	return r
}

func (r *rig) enter() error {
	g, err := r.q.Grant()
	if err != nil {
		return err
	}
	if r.a, err = Attach(g.Files[:], g.ID); err != nil {
		r.q.Reap(g.ID)
		return err
	}
	r.c, err = r.a.Register()
	return err
}

// leave is what becomes of a worker that gave up.
func (r *rig) leave(t *testing.T) {
	r.c.Close()
	r.q.Reap(r.a.ID())
	require.NoError(t, r.a.Close())
}

func (r *rig) end(t *testing.T) {
	r.q.Shared.Close()
	require.NoError(t, r.q.Free())
}

// outcome counts what flipped bits came to.
type outcome struct{ harmless, refused, noticed, renewed int }

func (o *outcome) add(p outcome) {
	o.harmless += p.harmless
	o.refused += p.refused
	o.noticed += p.noticed
	o.renewed += p.renewed
}

func (o *outcome) String() string {
	return fmt.Sprintf("%d bits: %d changed nothing that is read, %d refused by the reader, %d by the receiver's checksum; %d needed a new queue",
		o.harmless+o.refused+o.noticed, o.harmless, o.refused, o.noticed, o.renewed)
}

func TestSingleBitsFlipped(t *testing.T) {
	var total outcome
	step := 1
	if invariant.Enabled {
		step = 5 // These builds are slow; the plain one flips all.
	}
	for _, f := range flips() {
		var here outcome
		r := newRig(t)
		bits := 8 * len(f.mem(r))
		r.leave(t)
		r.end(t)
		for bit := 0; bit < bits; bit += step {
			here.add(flip(t, f, bit))
		}
		t.Logf("%s: %s", f.name, &here)
		if f.name == "header" {
			require.Zero(t, here.harmless, "the header is read once and has to be right")
		}
		total.add(here)
	}
	t.Logf("in all %s; wrong bytes returned: 0", &total)
	require.Positive(t, total.refused)
	require.Positive(t, total.noticed)
}

// flip flips one bit, reads from everywhere, and lets the queue go on.
func flip(t *testing.T, f field, bit int) (o outcome) {
	r := newRig(t)
	defer func() { r.leave(t); r.end(t) }()
	f.mem(r)[bit/8] ^= 1 << (bit % 8)
	refused, noticed := r.readEverywhere(t)
	damaged := r.q.Verify() != nil
	r.leave(t)
	if err := r.enter(); err != nil {
		require.ErrorIs(t, err, ErrLayout)
		refused, damaged = true, true
	}
	switch {
	case noticed:
		o.noticed = 1
	case refused:
		o.refused = 1
	default:
		o.harmless = 1
	}
	if damaged {
		// Never repaired: as after the death of the tap, there is a new one.
		o.renewed = 1
		if r.a != nil {
			r.leave(t)
		}
		r.end(t)
		*r = *newRig(t)
	}
	r.goOn(t, f, bit)
	return o
}

// readEverywhere reads from many places and says whether something was refused,
// and whether the checksum of something did not match. What matches has to be
// right.
func (r *rig) readEverywhere(t *testing.T) (refused, noticed bool) {
	for from := wal.LSN(flipFloor - BlockSize); from < flipHead; from += 3001 {
		for _, limit := range []wal.LSN{0, from + 2500} {
			f, ok, err := r.c.Try(from, limit)
			switch {
			case err != nil:
				if from >= flipFloor {
					refused = true
				}
				requireKnown(t, err)
			case ok && !f.Intact():
				noticed = true
			case ok:
				require.True(t, f.Range.Start == from && isPattern(f), "wrong bytes at %s", from)
			}
		}
	}
	r.c.Unpin()
	return refused, noticed
}

func requireKnown(t *testing.T, err error) {
	for _, known := range []error{ErrCorrupt, ErrBehindFloor, ErrAheadOfHead, ErrRevoked, ErrClosed} {
		if errors.Is(err, known) {
			return
		}
	}
	require.NoError(t, err)
}

// goOn lets the queue go round twice while the bit flips once more, with a reader
// that starts anew whenever it was refused.
func (r *rig) goOn(t *testing.T, f field, bit int) {
	held, ok, err := r.c.Try(r.c.Floor()+BlockSize, 0)
	require.True(t, ok && err == nil, "%v", err)
	if f.name == "slot pin" || f.name == "slot asked" {
		f.mem(r)[bit/8] ^= 1 << (bit % 8)
	}
	done := make(chan error, 1)
	go func() { done <- pump(context.Background(), &r.q.Local, 2*flipSize) }()
	select {
	case id := <-r.q.revoked:
		// It was not overwritten before the consumer was gone, but for a pin that
		// stood too high; and then the checksum tells.
		require.True(t, held.Intact() || f.name == "slot pin")
		require.Equal(t, held.Intact(), isPattern(held))
		r.q.Reap(id)
		require.NoError(t, <-done)
	case err := <-done:
		require.NoError(t, err)
		require.Equal(t, "slot pin", f.name, "only damage to the pin lets it be overwritten")
		require.False(t, held.Intact(), "and then the checksum tells")
	}
	r.leave(t)
	require.NoError(t, r.enter())
	for at := r.c.Floor(); at < r.q.Head(); {
		f, ok, err := r.c.Try(at, 0)
		require.NoError(t, err)
		require.True(t, ok && f.Intact() && isPattern(f))
		at = f.Range.End
	}
	_, err = r.q.Register()
	require.NoError(t, err)
}
