package shmqueue

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/walhaven/walhaven/wal"
)

func newShared(t testing.TB, o Options) *Shared {
	t.Helper()
	q, err := Create(o)
	require.NoError(t, err)
	t.Cleanup(func() {
		q.Close()
		require.NoError(t, q.Free())
	})
	return q
}

// attach attaches to q in this process, through descriptors as another would.
func attach(t testing.TB, q *Shared) *Attached {
	t.Helper()
	g, err := q.Grant()
	require.NoError(t, err)
	a, err := Attach(g.Files[:], g.ID)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, a.Close())
		q.Reap(g.ID)
	})
	return a
}

func lend(t testing.TB, a *Attached) Consumer {
	t.Helper()
	c, err := a.Register()
	require.NoError(t, err)
	return c
}

func TestSharedReadersSeeEveryByteWhileTheRingWraps(t *testing.T) {
	const total = 20 << 20
	q := newShared(t, Options{Size: 1 << 17, Start: 12345, PinGrace: time.Hour})
	end := q.Head() + total
	g, ctx := errgroup.WithContext(context.Background())
	for range 3 {
		c := lend(t, attach(t, q))
		g.Go(func() error { return readAll(ctx, c, 12345, end) })
	}
	c, err := q.Register()
	require.NoError(t, err)
	g.Go(func() error { return readAll(ctx, c, 12345, end) })
	g.Go(func() error { return pump(ctx, &q.Local, total) })
	require.NoError(t, g.Wait())
	require.Zero(t, q.Revocations())
}

// readAll reads and checks the known pattern from at to end.
func readAll(ctx context.Context, c Consumer, at, end wal.LSN) error {
	defer c.Close()
	for at < end {
		f, err := c.Next(ctx, at, 0)
		switch {
		case errors.Is(err, ErrBehindFloor):
			at = c.Floor()
			continue
		case err != nil:
			return err
		case !isPattern(f):
			return errors.New("other bytes than were written")
		case Checksum(bytesOf(f)) != f.CRC:
			return errors.New("checksum does not match the bytes")
		}
		at = f.Range.End
	}
	return nil
}

func TestPublishedTimesAreOfTheReadersClock(t *testing.T) {
	q := newShared(t, Options{Size: MinSize, Start: BlockSize})
	c := lend(t, attach(t, q))
	before := Now()
	require.NoError(t, q.Write(context.Background(), []byte("x")))
	f, err := c.Next(context.Background(), BlockSize, 0)
	require.NoError(t, err)
	// The clocks are compared once, at the start.
	require.InDelta(t, before, f.Published, float64(time.Minute))
}

func TestMemoryCannotBeCutOrWrittenByItsReaders(t *testing.T) {
	q := newShared(t, Options{Size: MinSize, Start: BlockSize})
	g, err := q.Grant()
	require.NoError(t, err)
	defer g.Close() //nolint:errcheck // Only descriptors.
	memory, slot := g.Files[fileMemory], g.Files[fileSlot]
	for _, f := range []*os.File{memory, slot, q.file} {
		require.Error(t, unix.Ftruncate(int(f.Fd()), 1024), "cutting it would kill each reader")
		require.Error(t, unix.Ftruncate(int(f.Fd()), 1<<30))
		_, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE)
		require.Error(t, err, "nobody can add seals")
	}
	size := len(q.memory)
	_, err = unix.Mmap(int(memory.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.ErrorIs(t, err, unix.EACCES)
	_, err = unix.Pwrite(int(memory.Fd()), []byte("x"), 0)
	require.Error(t, err)
	// However a reader came by a descriptor.
	_, err = unix.Mmap(int(q.file.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.ErrorIs(t, err, unix.EPERM)
}

func TestSlotOfAnotherProcessIsTakenUntilItIsReaped(t *testing.T) {
	q := newShared(t, Options{Size: MinSize, Start: BlockSize})
	first := attach(t, q)
	c := lend(t, first)
	_, err := first.Register()
	require.ErrorIs(t, err, ErrNoSlot, "one consumer at a time")
	c.Close()
	c.Close()
	c = lend(t, first)
	q.Reap(first.ID())
	_, _, err = c.Try(BlockSize, 0)
	require.ErrorIs(t, err, ErrRevoked, "the generation has moved on")
	_, err = first.Register()
	require.ErrorIs(t, err, ErrNoSlot)
	c.Close()
	_, err = first.Register()
	require.ErrorIs(t, err, ErrRevoked)
}

func TestLateStoresOfTheDeadReachNobody(t *testing.T) {
	q := newShared(t, Options{Size: MinSize, Start: BlockSize, PinGrace: time.Hour})
	var old *Attached
	for range MaxSlots { // until the first slot comes round again
		a := attach(t, q)
		if old == nil {
			old = a
		}
		q.Reap(a.ID())
	}
	fresh := attach(t, q)
	require.Equal(t, old.ID().Index, fresh.ID().Index)
	require.NotEqual(t, old.ID().Generation, fresh.ID().Generation)
	old.c.words.pin.Store(BlockSize)
	ctx := context.Background()
	require.NoError(t, pump(ctx, &q.Local, 3*MinSize), "the pin of a dead consumer holds up nobody")
	require.Equal(t, uint64(noPin), fresh.c.words.pin.Load())
}

func TestStaleGrantIsRefused(t *testing.T) {
	q := newShared(t, Options{Size: MinSize, Start: BlockSize})
	g, err := q.Grant()
	require.NoError(t, err)
	q.Reap(g.ID)
	_, err = Attach(g.Files[:], g.ID)
	require.ErrorIs(t, err, ErrRevoked)

	g, err = q.Grant()
	require.NoError(t, err)
	_, err = Attach(g.Files[:], SlotID{Index: g.ID.Index, Generation: g.ID.Generation + 1})
	require.ErrorIs(t, err, ErrLayout)
	q.Reap(g.ID)
}
