package shmqueue

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/walhaven/walhaven/internal/alloctest"
	"github.com/walhaven/walhaven/wal"
)

func newQueue(t testing.TB, o Options) *Local {
	t.Helper()
	q, err := NewLocal(o)
	require.NoError(t, err)
	t.Cleanup(q.Close)
	return q
}

func bytesOf(f Frame) []byte { return append(append([]byte{}, f.Parts[0]...), f.Parts[1]...) }

// pump writes n bytes of a known pattern and releases what it wrote at once, so
// that only pins can hold it back.
func pump(ctx context.Context, q *Local, n int) error {
	buf := make([]byte, 5000)
	for at := q.Head(); n > 0; at = q.Head() {
		k := min(n, len(buf))
		pattern(buf[:k], at)
		if err := q.Write(ctx, buf[:k]); err != nil {
			return err
		}
		q.Release(q.Head())
		n -= k
	}
	return nil
}

func pattern(p []byte, at wal.LSN) {
	for i := range p {
		x := uint64(at) + uint64(i)
		p[i] = byte(x*0x9e3779b97f4a7c15>>56) ^ byte(x>>12)
	}
}

func isPattern(f Frame) bool {
	at, want := f.Range.Start, make([]byte, BlockSize)
	for _, p := range f.Parts {
		for len(p) > 0 {
			n := min(len(p), len(want))
			pattern(want[:n], at)
			if string(want[:n]) != string(p[:n]) {
				return false
			}
			at, p = at+wal.LSN(n), p[n:]
		}
	}
	return at == f.Range.End
}

func TestReadersSeeEveryByteWhileTheRingWraps(t *testing.T) {
	const total = 20 << 20
	q := newQueue(t, Options{Size: 1 << 17, Start: 12345, PinGrace: time.Hour})
	end := q.Head() + total
	g, ctx := errgroup.WithContext(context.Background())
	for range 3 {
		c, err := q.Register()
		require.NoError(t, err)
		g.Go(func() error {
			defer c.Close()
			for at := wal.LSN(12345); at < end; {
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
		})
	}
	g.Go(func() error { return pump(ctx, q, total) })
	require.NoError(t, g.Wait())
	require.Zero(t, q.Revocations())
}

// overwriteWhilePinned lets a reader hold a frame while the producer goes round
// the ring, and says whether the frame still has its bytes.
func overwriteWhilePinned(t *testing.T, ignorePins bool) bool {
	q := newQueue(t, Options{Size: MinSize, Start: BlockSize, PinGrace: time.Hour})
	q.ignorePins = ignorePins
	ctx := context.Background()
	require.NoError(t, pump(ctx, q, BlockSize))
	c, err := q.Register()
	require.NoError(t, err)
	f, err := c.Next(ctx, BlockSize, 0)
	require.NoError(t, err)
	require.True(t, isPattern(f))

	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return pump(gctx, q, 2*MinSize) })
	if ignorePins {
		require.NoError(t, g.Wait())
		return isPattern(f)
	}
	// The producer gets as far as the pin and no further.
	require.Eventually(t, func() bool { return q.w.needSpace.Load() != 0 }, time.Minute, time.Millisecond)
	intact := isPattern(f)
	c.Close()
	require.NoError(t, g.Wait())
	return intact
}

func TestPinnedRangeIsNotOverwritten(t *testing.T) {
	require.True(t, overwriteWhilePinned(t, false))
}

func TestWithoutPinsTheReaderSeesOtherBytes(t *testing.T) {
	require.False(t, overwriteWhilePinned(t, true), "the test above would not notice a missing pin check")
}

func TestSlotThatHoldsAPinTooLongIsRevoked(t *testing.T) {
	q := newQueue(t, Options{Size: MinSize, Start: BlockSize, PinGrace: time.Millisecond})
	ctx := context.Background()
	require.NoError(t, pump(ctx, q, BlockSize))
	c, err := q.Register()
	require.NoError(t, err)
	f, err := c.Next(ctx, BlockSize, 0)
	require.NoError(t, err)
	g := new(errgroup.Group)
	g.Go(func() error { return pump(ctx, q, 2*MinSize) })
	<-c.Revoked()
	require.True(t, isPattern(f), "bytes stay until the consumer is gone, revoked or not")
	_, _, err = c.Try(f.Range.End, 0)
	require.ErrorIs(t, err, ErrRevoked)
	c.Close()
	require.NoError(t, g.Wait())
	require.EqualValues(t, 1, q.Revocations())

	again, err := q.Register()
	require.NoError(t, err)
	defer again.Close()
	_, err = again.Next(ctx, f.Range.Start, 0)
	require.ErrorIs(t, err, ErrBehindFloor)
}

func TestProducerWaitsForWhatWasNotReleased(t *testing.T) {
	q := newQueue(t, Options{Size: MinSize, Start: BlockSize})
	ctx := context.Background()
	require.NoError(t, q.Write(ctx, make([]byte, MinSize)))
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, q.Write(canceled, []byte("x")), context.Canceled)
	q.Release(2 * BlockSize)
	require.NoError(t, q.Write(ctx, []byte("x")))
	require.EqualValues(t, 2*BlockSize, q.Floor())
}

func TestSlotsAreReusedUnderANewGeneration(t *testing.T) {
	q := newQueue(t, Options{Size: MinSize, Start: BlockSize})
	var all []Consumer
	for range MaxSlots {
		c, err := q.Register()
		require.NoError(t, err)
		all = append(all, c)
	}
	_, err := q.Register()
	require.ErrorIs(t, err, ErrNoSlot)
	old := all[7]
	old.Close()
	fresh, err := q.Register()
	require.NoError(t, err)
	require.Equal(t, old.ID().Index, fresh.ID().Index)
	require.NotEqual(t, old.ID().Generation, fresh.ID().Generation)
	_, _, err = old.Try(BlockSize, 0)
	require.ErrorIs(t, err, ErrRevoked, "a stale handle is told from a live one")
	old.Close()
	_, _, err = fresh.Try(BlockSize, 0)
	require.NoError(t, err)
}

func TestConsumerIsToldOfTheEnd(t *testing.T) {
	q := newQueue(t, Options{Size: MinSize, Start: BlockSize})
	ctx := context.Background()
	c, err := q.Register()
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, q.Write(ctx, []byte("last")))
	q.Close()
	f, err := c.Next(ctx, BlockSize, 0)
	require.NoError(t, err)
	require.Equal(t, "last", string(bytesOf(f)))
	_, err = c.Next(ctx, f.Range.End, 0)
	require.ErrorIs(t, err, ErrClosed)
	_, err = c.Next(ctx, f.Range.End+1, 0)
	require.ErrorIs(t, err, ErrAheadOfHead)
	require.ErrorIs(t, q.Write(ctx, []byte("more")), ErrClosed)
}

func TestDamageInTheRingIsNoticedByTheChecksum(t *testing.T) {
	q := newQueue(t, Options{Size: MinSize, Start: BlockSize})
	require.NoError(t, q.Write(context.Background(), make([]byte, 3*BlockSize)))
	q.w.data[2*BlockSize+17] ^= 1
	c, err := q.Register()
	require.NoError(t, err)
	defer c.Close()
	f, ok, err := c.Try(BlockSize+100, 0)
	require.NoError(t, err)
	require.True(t, ok)
	require.NotEqual(t, Checksum(bytesOf(f)), f.CRC)
	_, _, err = c.Try(2*BlockSize, 2*BlockSize+50)
	require.ErrorIs(t, err, ErrCorrupt, "a cut block is checked whole")
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	q := newQueue(t, Options{Size: 1 << 20, Start: BlockSize})
	c, err := q.Register()
	require.NoError(t, err)
	doesNotAllocate(t, q, c)
}

func doesNotAllocate(t *testing.T, q *Local, c Consumer) {
	defer c.Close()
	data, ctx, at := make([]byte, 700), context.Background(), q.Head()
	alloctest.None(t, 5000, func() {
		if q.Write(ctx, data) != nil {
			t.Fail()
		}
		f, _, err := c.Try(at, 0)
		if err != nil {
			t.Fail()
		}
		at = f.Range.End
		c.Unpin()
		_, _, _ = c.Try(at, 0)
		q.Release(at)
	})
}

func BenchmarkWriteAndRead(b *testing.B) {
	for _, size := range []int{256, 8192, 131072} {
		b.Run(strconv.Itoa(size), func(b *testing.B) { benchmark(b, size) })
	}
}

func benchmark(b *testing.B, size int) {
	q := newQueue(b, Options{Size: 16 << 20, Start: BlockSize, PinGrace: time.Hour})
	c, err := q.Register()
	require.NoError(b, err)
	defer c.Close()
	data, ctx := make([]byte, size), context.Background()
	end := q.Head() + wal.LSN(size*b.N)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	g := new(errgroup.Group)
	g.Go(func() error {
		for at := wal.LSN(BlockSize); at < end; {
			f, err := c.Next(ctx, at, 0)
			if err != nil {
				q.Close()
				return err
			}
			at = f.Range.End
			q.Release(at)
		}
		return nil
	})
	for range b.N {
		if err := q.Write(ctx, data); err != nil {
			b.Fatal(err)
		}
	}
	require.NoError(b, g.Wait())
}

func TestVerifyBesideTheWriterFindsNothingWrong(t *testing.T) {
	q := newQueue(t, Options{Size: 1 << 17, Start: 12345, PinGrace: time.Hour})
	g := new(errgroup.Group)
	done := make(chan struct{})
	g.Go(func() error { defer close(done); return pump(context.Background(), q, 4<<20) })
	for running := true; running; {
		require.NoError(t, q.Verify())
		select {
		case <-done:
			running = false
		default:
		}
	}
	require.NoError(t, g.Wait())
	require.NoError(t, q.Verify())
}
