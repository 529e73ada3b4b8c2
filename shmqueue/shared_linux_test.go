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
	"pgregory.net/rapid"

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

func TestRevokedRangeIsHeldUntilItsProcessIsReaped(t *testing.T) {
	revoked := make(chan SlotID, 1)
	q := newShared(t, Options{Size: MinSize, Start: BlockSize, PinGrace: time.Millisecond, OnRevoke: func(id SlotID) { revoked <- id }})
	ctx := context.Background()
	require.NoError(t, pump(ctx, &q.Local, BlockSize))
	a := attach(t, q)
	c := lend(t, a)
	f, err := c.Next(ctx, BlockSize, 0)
	require.NoError(t, err)
	g := new(errgroup.Group)
	g.Go(func() error { return pump(ctx, &q.Local, 2*MinSize) })
	require.Equal(t, a.ID(), <-revoked)
	<-c.Revoked()
	require.Equal(t, uint64(BlockSize), q.lowestPin(), "the producer still waits")
	require.True(t, f.Intact() && isPattern(f))
	_, _, err = c.Try(f.Range.End, 0)
	require.ErrorIs(t, err, ErrRevoked)
	q.Reap(a.ID())
	require.NoError(t, g.Wait())
	require.EqualValues(t, 1, q.Revocations())
}

func TestStoppedProducerReachesNobodyOfTheNext(t *testing.T) {
	old := newShared(t, Options{Size: MinSize, Start: BlockSize})
	ctx := context.Background()
	require.NoError(t, old.Write(ctx, make([]byte, 100)))
	next := newShared(t, Options{Size: MinSize, Start: BlockSize})
	c := lend(t, attach(t, next))
	require.NoError(t, pump(ctx, &next.Local, BlockSize))
	// The old one goes on, with other bytes at the same LSNs.
	require.NoError(t, old.Write(ctx, make([]byte, BlockSize)))
	f, err := c.Next(ctx, BlockSize, 0)
	require.NoError(t, err)
	require.True(t, f.Intact() && isPattern(f))
	require.EqualValues(t, 2*BlockSize, c.Head())
}

func TestBlockOfAnotherGenerationIsRefused(t *testing.T) {
	q := newShared(t, Options{Size: MinSize, Start: BlockSize})
	require.NoError(t, pump(context.Background(), &q.Local, BlockSize))
	c := lend(t, attach(t, q))
	q.w.block(BlockSize).generation.Add(1)
	_, _, err := c.Try(BlockSize, 0)
	require.ErrorIs(t, err, ErrCorrupt)
	require.ErrorIs(t, q.Verify(), ErrCorrupt)
}

func TestReservedBytesAreSeenWhenPublished(t *testing.T) {
	q := newShared(t, Options{Size: MinSize, Start: 12345})
	c := lend(t, attach(t, q))
	ctx := context.Background()
	for at := wal.LSN(12345); at < 12345+5*MinSize; {
		parts, err := q.Reserve(ctx, 9000)
		require.NoError(t, err)
		pattern(parts[0], at)
		pattern(parts[1], at+wal.LSN(len(parts[0])))
		_, ok, err := c.Try(at, 0)
		require.False(t, ok)
		require.NoError(t, err)
		q.Publish(8500)
		q.Publish(8500) // Nothing is reserved any more.
		require.Equal(t, at+8500, q.Head())
		for end := at + 8500; at < end; {
			f, err := c.Next(ctx, at, 0)
			require.NoError(t, err)
			require.True(t, f.Intact() && isPattern(f))
			at = f.Range.End
		}
		c.Unpin()
		q.Release(at)
	}
	_, err := q.Reserve(ctx, MinSize)
	require.ErrorContains(t, err, "at most")
}

// whole is a consumer that leaves with its process.
type whole struct {
	Consumer
	leave func()
}

func (w *whole) Close() { w.Consumer.Close(); w.leave() }

func TestSharedQueueAgreesWithPlainSlice(t *testing.T) {
	agree(t, func(t *rapid.T, o Options) (*Local, func() (Consumer, error), func()) {
		q, err := Create(o)
		require.NoError(t, err)
		register := func() (Consumer, error) {
			g, err := q.Grant()
			if err != nil {
				return nil, err
			}
			a, err := Attach(g.Files[:], g.ID)
			if err != nil {
				return nil, err
			}
			c, err := a.Register()
			return &whole{Consumer: c, leave: func() {
				require.NoError(t, a.Close())
				q.Reap(g.ID)
			}}, err
		}
		return &q.Local, register, func() {
			q.Close()
			require.NoError(t, q.Free())
		}
	})
}

func TestSharedHotPathDoesNotAllocate(t *testing.T) {
	q := newShared(t, Options{Size: 1 << 20, Start: BlockSize})
	doesNotAllocate(t, &q.Local, lend(t, attach(t, q)))
}

// Who waits for other words of the producer is told by these that there is WAL;
// the end of a slot still rings.
func TestRingByTakesTheBellsPlace(t *testing.T) {
	q := newShared(t, Options{Size: MinSize, Start: BlockSize})
	g, err := q.Grant()
	require.NoError(t, err)
	rung := 0
	q.RingBy(g.ID, func() bool { rung++; return true })
	a, err := Attach(g.Files[:], g.ID)
	require.NoError(t, err)
	c := lend(t, a)
	write := func() { require.NoError(t, q.Write(context.Background(), []byte("x"))) }
	write()
	require.Zero(t, rung, "nobody asked")
	for i := range 3 {
		for at, ok := q.Floor(), true; ok; {
			var f Frame
			f, ok, err = c.Try(at, 0)
			require.NoError(t, err)
			if ok {
				at = f.Range.End
			}
		}
		write()
		write()
		require.Equal(t, i+1, rung, "once for each time that it asked")
	}
	q.Revoke(g.ID)
	<-c.Revoked()
	require.Equal(t, 3, rung)
	c.Close()
	require.NoError(t, a.Close())
	q.Reap(g.ID)
	q.RingBy(g.ID, func() bool { t.Error("another consumer's slot"); return true })
	other := lend(t, attach(t, q))
	_, _, err = other.Try(q.Head(), 0)
	require.NoError(t, err)
	write()
}

// Who leaves what there is for later hears of the next write all the same.
func TestAskArmsForTheNextPublish(t *testing.T) {
	q := newShared(t, Options{Size: MinSize, Start: BlockSize})
	c, err := q.Register()
	require.NoError(t, err)
	t.Cleanup(c.Close)
	rung := 0
	q.RingBy(c.ID(), func() bool { rung++; return true })
	_, ok, err := c.Try(q.Head(), 0)
	require.NoError(t, err)
	require.False(t, ok)
	write := func() { require.NoError(t, q.Write(t.Context(), []byte("x"))) }
	write()
	c.Ask()
	write()
	require.Equal(t, 2, rung)
	write()
	require.Equal(t, 2, rung, "nobody asked")
}

// What takes the wake-up's place may leave it to be made after all.
func TestRingByMayLeaveTheWaking(t *testing.T) {
	q, err := NewLocal(Options{Size: MinSize, Start: BlockSize})
	require.NoError(t, err)
	defer q.Close()
	c, err := q.Register()
	require.NoError(t, err)
	defer c.Close()
	var did bool
	q.RingBy(c.ID(), func() bool { return did })
	for at := wal.LSN(BlockSize); at < BlockSize+2; at++ {
		_, ok, err := c.Try(at, 0)
		require.NoError(t, err)
		require.False(t, ok)
		require.NoError(t, q.Write(context.Background(), []byte("x")))
		select {
		case <-c.Wake():
			require.False(t, did)
		default:
			require.True(t, did)
		}
		did = true
	}
}
