package shmqueue

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/wal"
)

const soakHeader = 16 // start, length, checksum

// push is a worker as the walproposer has it: it sends frames from the ring to an
// acceptor at the other end of a socket, which first says where it is. What the
// queue has no longer it makes itself, as others read it from disk.
func push() error {
	a, err := granted(4)
	if err != nil {
		return ignoring(err, ErrRevoked)
	}
	c, err := a.Register()
	if err != nil {
		return ignoring(err, ErrRevoked)
	}
	f := os.NewFile(4+Files, "acceptor")
	conn, err := net.FileConn(f)
	if err != nil {
		return err
	}
	var header [soakHeader]byte
	if _, err := io.ReadFull(conn, header[:8]); err != nil {
		return nil //nolint:nilerr // The acceptor went away.
	}
	own := make([]byte, MaxFrame)
	for at := wal.LSN(binary.BigEndian.Uint64(header[:])); ; {
		f, err := c.Next(context.Background(), at, 0)
		if errors.Is(err, ErrBehindFloor) {
			f = Frame{Range: wal.Range{Start: at, End: at + MaxFrame}, Parts: [2][]byte{own}}
			pattern(own, at)
			f.CRC = Checksum(own)
			err = nil
		}
		if err != nil {
			return ignoring(ignoring(err, ErrClosed), ErrRevoked)
		}
		binary.BigEndian.PutUint64(header[:], uint64(at))
		binary.BigEndian.PutUint32(header[8:], uint32(f.Range.Len()))
		binary.BigEndian.PutUint32(header[12:], f.CRC)
		buffers := net.Buffers{header[:], f.Parts[0], f.Parts[1]}
		if _, err := buffers.WriteTo(conn); err != nil {
			return nil //nolint:nilerr // The acceptor went away.
		}
		at = f.Range.End
	}
}

func ignoring(err, what error) error {
	if errors.Is(err, what) {
		return nil
	}
	return err
}

// soak is a producer with three acceptors, one of which is in trouble at a time.
type soak struct {
	*tap
	acceptors [3]*acceptor
	end       wal.LSN
	trouble   sync.Mutex
	// moved is told that the head moved.
	mu                              sync.Mutex
	moved                           *sync.Cond
	kills, stalls, stops, fed, born atomic.Uint64
}

// acceptor is the receiving end of a worker.
type acceptor struct {
	s        *soak
	n        int
	at       atomic.Uint64
	sum      hash.Hash
	disk     *os.File
	worker   atomic.Pointer[child]
	slot     atomic.Pointer[SlotID]
	next     wal.LSN // where it gets into trouble
	every    wal.LSN
	troubles int
}

func TestSoak(t *testing.T) {
	total, size := 48<<20, 1<<20
	if invariant.Enabled {
		total = 12 << 20
	}
	if n, err := strconv.Atoi(os.Getenv("WALHAVEN_SOAK_BYTES")); err == nil {
		total, size = n, 16<<20
	}
	const start = 16<<20 + 12345
	s := &soak{tap: newTap(t, Options{Size: size, Start: start, PinGrace: 20 * time.Millisecond}), end: start + wal.LSN(total)}
	s.moved = sync.NewCond(&s.mu)
	g, ctx := errgroup.WithContext(t.Context())
	for i := range s.acceptors {
		every := wal.LSN(total / 10)
		a := &acceptor{s: s, n: i, sum: sha256.New(), every: every, next: start + every/4*wal.LSN(i+1)}
		a.at.Store(start)
		s.acceptors[i] = a
		if i == 0 {
			var err error
			a.disk, err = os.Create(t.TempDir() + "/wal")
			require.NoError(t, err)
			defer a.disk.Close() //nolint:errcheck // Read below.
		}
	}
	var written hash.Hash
	supervisors, sctx := errgroup.WithContext(ctx)
	for _, a := range s.acceptors {
		supervisors.Go(func() error { return a.supervise(sctx) })
	}
	began := time.Now()
	g.Go(func() error { return s.reapRevoked(sctx) })
	g.Go(func() (err error) { written, err = s.write(ctx, start); return err })
	require.NoError(t, supervisors.Wait())
	close(s.revoked)
	require.NoError(t, g.Wait())

	want := written.Sum(nil)
	for _, a := range s.acceptors {
		require.Equal(t, want, a.sum.Sum(nil), "acceptor %d", a.n)
	}
	onDisk := sha256.New()
	_, err := io.Copy(onDisk, io.NewSectionReader(s.acceptors[0].disk, 0, int64(total)))
	require.NoError(t, err)
	require.Equal(t, want, onDisk.Sum(nil))
	t.Logf("%d bytes to each of %d acceptors in %s: %d workers started, %d killed, %d stopped, %d stalls, %d slots revoked; %d bytes below the floor; SHA-256 %x at both ends and on disk",
		total, len(s.acceptors), time.Since(began).Round(time.Millisecond), s.born.Load(), s.kills.Load(), s.stops.Load(), s.stalls.Load(),
		s.Revocations(), s.fed.Load(), want[:8])
	require.Positive(t, s.kills.Load())
	require.Positive(t, s.stalls.Load())
	require.Positive(t, s.stops.Load())
	require.Positive(t, s.fed.Load(), "nobody was cut loose")
}

// write writes everything and returns its hash.
func (s *soak) write(ctx context.Context, at wal.LSN) (hash.Hash, error) {
	sum, buf := sha256.New(), make([]byte, 100_000)
	for at < s.end {
		p := buf[:min(len(buf), int(s.end-at))]
		pattern(p, at)
		_, _ = sum.Write(p)
		if err := s.Write(ctx, p); err != nil {
			return nil, err
		}
		at += wal.LSN(len(p))
		s.mu.Lock() // Nobody is between looking and waiting.
		s.moved.Broadcast()
		s.mu.Unlock()
	}
	return sum, nil
}

// release lets go what two of three have.
func (s *soak) release() {
	var at []uint64
	for _, a := range s.acceptors {
		at = append(at, a.at.Load())
	}
	slices.Sort(at)
	s.Release(wal.LSN(at[1]))
}

// lap waits until the queue went round from where it is, or all is written.
func (s *soak) lap() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for upto := min(s.Head()+2*wal.LSN(s.Size()), s.end); s.Head() < upto; {
		s.moved.Wait()
	}
}

// reapRevoked kills the workers that hold what the producer needs; who started
// them waits for them.
func (s *soak) reapRevoked(ctx context.Context) error {
	for {
		select {
		case id, ok := <-s.revoked:
			if !ok {
				return nil
			}
			for _, a := range s.acceptors {
				if held := a.slot.Load(); held != nil && *held == id {
					_ = a.worker.Load().Process.Kill()
				}
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// supervise starts worker after worker until the acceptor has everything.
func (a *acceptor) supervise(ctx context.Context) error {
	for wal.LSN(a.at.Load()) < a.s.end {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := a.session(); err != nil {
			return fmt.Errorf("acceptor %d at %s: %w", a.n, wal.LSN(a.at.Load()), err)
		}
	}
	return nil
}

// session runs one worker to its end.
func (a *acceptor) session() error {
	g, err := a.s.Grant()
	if err != nil {
		return err
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "worker"), os.NewFile(uintptr(fds[1]), "acceptor")
	conn, err := net.FileConn(ours)
	if err != nil {
		return err
	}
	w := spawn(a.s.t, "push", "", append(g.Files[:], theirs), grantSettings(g)...)
	a.s.born.Add(1)
	a.worker.Store(w)
	a.slot.Store(&g.ID)
	reaped := make(chan struct{})
	go func() { defer close(reaped); <-w.done; a.s.Reap(g.ID) }()
	err = errors.Join(g.Close(), theirs.Close(), ours.Close(), a.receive(conn, w), conn.Close())
	w.end()
	<-reaped
	return err
}

// receive takes frames until the worker is gone, and checks each before it
// counts.
func (a *acceptor) receive(conn net.Conn, w *child) error {
	at := wal.LSN(a.at.Load())
	if _, err := conn.Write(binary.BigEndian.AppendUint64(nil, uint64(at))); err != nil {
		return nil //nolint:nilerr // Died at once.
	}
	var header [soakHeader]byte
	buf := make([]byte, MaxFrame)
	for at < a.s.end {
		if _, err := io.ReadFull(conn, header[:]); err != nil {
			return nil //nolint:nilerr // Gone.
		}
		n := binary.BigEndian.Uint32(header[8:])
		if wal.LSN(binary.BigEndian.Uint64(header[:])) != at || n == 0 || n > MaxFrame {
			return fmt.Errorf("frame of %d bytes at %x", n, header[:8])
		}
		if _, err := io.ReadFull(conn, buf[:n]); err != nil {
			return nil //nolint:nilerr // Gone.
		}
		if Checksum(buf[:n]) != binary.BigEndian.Uint32(header[12:]) {
			return fmt.Errorf("checksum of %d bytes at %s", n, at)
		}
		if at < a.s.Floor() {
			a.s.fed.Add(uint64(n))
		}
		take := min(int(n), int(a.s.end-at))
		_, _ = a.sum.Write(buf[:take])
		if a.disk != nil {
			if _, err := a.disk.Write(buf[:take]); err != nil {
				return err
			}
		}
		at += wal.LSN(take)
		a.at.Store(uint64(at))
		a.s.release()
		a.maybeTrouble(at, w)
	}
	return nil
}

// maybeTrouble makes trouble now and then, if no other acceptor is in trouble:
// the worker is killed, or stopped, or not read from, while the queue goes round.
func (a *acceptor) maybeTrouble(at wal.LSN, w *child) {
	if at < a.next || !a.s.trouble.TryLock() {
		return
	}
	defer a.s.trouble.Unlock()
	a.next = at + a.every
	a.troubles++
	switch (a.troubles + a.n) % 3 {
	case 0:
		a.s.kills.Add(1)
		_ = w.Process.Kill()
	case 1:
		a.s.stalls.Add(1)
		a.s.lap()
	case 2:
		a.s.stops.Add(1)
		_ = w.Process.Signal(syscall.SIGSTOP)
		a.s.lap()
		_ = w.resume()
	}
}
