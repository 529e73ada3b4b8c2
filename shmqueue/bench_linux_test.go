package shmqueue

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/walhaven/walhaven/wal"
)

const (
	benchRing  = 16 << 20
	benchPiece = 8 << 10 // what is written at once
	benchAck   = 1 << 20 // how often a reader says how far it is
)

// measure reads frames from a queue, checks each as an acceptor does, and says now
// and then how far it is. With LATENCY it says how long each took to come.
func measure() error {
	conn, err := control()
	if err != nil {
		return err
	}
	a, err := granted(4)
	if err != nil {
		return err
	}
	c, err := a.Register()
	if err != nil {
		return err
	}
	if _, err := conn.Write([]byte("ready---")); err != nil {
		return err
	}
	every := wal.LSN(number("EVERY"))
	told, end := wal.LSN(BlockSize), wal.LSN(number("END"))
	for at := told; at < end; {
		f, err := c.Next(context.Background(), at, 0)
		if err != nil {
			return err
		}
		came := Now() - f.Published
		if !f.Intact() {
			return errors.New("wrong bytes")
		}
		if at = f.Range.End; at >= told+every || at >= end {
			c.Unpin()
			told = at
			if every == 1 {
				at = wal.LSN(came)
			}
			if _, err := conn.Write(binary.BigEndian.AppendUint64(nil, uint64(at))); err != nil {
				return err
			}
			at = told
		}
	}
	return nil
}

// measureSocket does the same with bytes that come through a socket. For a
// latency each message begins with the time at which it was sent.
func measureSocket() error {
	control, err := control()
	if err != nil {
		return err
	}
	conn, err := net.FileConn(os.NewFile(4, "data"))
	if err != nil {
		return err
	}
	if _, err := control.Write([]byte("ready---")); err != nil {
		return err
	}
	buf, crc := make([]byte, MaxFrame), uint32(0)
	every := number("EVERY")
	for {
		n, err := conn.Read(buf)
		if err != nil {
			break
		}
		if every == 1 {
			now, err := machineClock()
			if err != nil {
				return err
			}
			came := uint64(now) - binary.BigEndian.Uint64(buf)
			if _, err := control.Write(binary.BigEndian.AppendUint64(nil, came)); err != nil {
				return err
			}
		}
		crc = checksumMore(crc, buf[:n])
	}
	_, err = control.Write(binary.BigEndian.AppendUint64(nil, uint64(crc)))
	return err
}

// cpu is what this process and those that it waited for used.
func cpu(b *testing.B) (total time.Duration) {
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		require.NoError(b, unix.Getrusage(who, &u))
		total += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return total
}

// BenchmarkFanOut writes pieces of 8 KiB to several readers, each of which checks
// every byte.
func BenchmarkFanOut(b *testing.B) {
	for _, way := range []struct {
		name string
		run  func(b *testing.B, readers int)
	}{{"shared", fanOutShared}, {"local", fanOutLocal}, {"socket", fanOutSocket}} {
		for _, readers := range []int{1, 3, 8} {
			b.Run(fmt.Sprintf("%s/readers=%d", way.name, readers), func(b *testing.B) {
				b.SetBytes(benchPiece)
				b.ReportAllocs()
				before := cpu(b)
				way.run(b, readers)
				gigabytes := float64(b.N) * benchPiece / 1e9
				b.ReportMetric((cpu(b)-before).Seconds()/gigabytes, "cpu-s/GB")
			})
		}
	}
}

// positions are how far readers are; the lowest is released.
type positions struct {
	q  Producer
	at []atomic.Uint64
}

func (p *positions) moved(i int, at wal.LSN) {
	p.at[i].Store(uint64(at))
	low := uint64(noPin)
	for i := range p.at {
		low = min(low, p.at[i].Load())
	}
	p.q.Release(wal.LSN(low))
}

func write(b *testing.B, q Producer) {
	data, ctx := make([]byte, benchPiece), context.Background()
	pattern(data, 0)
	b.ResetTimer()
	for range b.N {
		if err := q.Write(ctx, data); err != nil {
			b.Fatal(err)
		}
	}
}

func fanOutShared(b *testing.B, readers int) {
	q := newShared(b, Options{Size: benchRing, Start: BlockSize, PinGrace: time.Hour})
	end := BlockSize + wal.LSN(b.N)*benchPiece
	p := &positions{q: q, at: make([]atomic.Uint64, readers)}
	g := new(errgroup.Group)
	var ready sync.WaitGroup
	for i := range readers {
		c, _ := measured(b, q, end, benchAck)
		ready.Add(1)
		g.Go(func() error {
			var m [8]byte
			_, err := io.ReadFull(c.conn, m[:])
			ready.Done()
			for at := wal.LSN(0); at < end && err == nil; {
				_, err = io.ReadFull(c.conn, m[:])
				at = wal.LSN(binary.BigEndian.Uint64(m[:]))
				p.moved(i, at)
			}
			<-c.done
			return errors.Join(err, c.err)
		})
	}
	ready.Wait()
	write(b, q)
	require.NoError(b, g.Wait())
	b.StopTimer()
}

// measured starts a process that reads from q to end.
func measured(b *testing.B, q *Shared, end wal.LSN, every uint64) (*child, SlotID) {
	g, err := q.Grant()
	require.NoError(b, err)
	c := spawn(b, "measure", "", g.Files[:], append(grantSettings(g), setting("END", uint64(end)), setting("EVERY", every))...)
	require.NoError(b, g.Close())
	return c, g.ID
}

func fanOutLocal(b *testing.B, readers int) {
	q := newQueue(b, Options{Size: benchRing, Start: BlockSize, PinGrace: time.Hour})
	end := BlockSize + wal.LSN(b.N)*benchPiece
	p := &positions{q: q, at: make([]atomic.Uint64, readers)}
	g := new(errgroup.Group)
	for i := range readers {
		c, err := q.Register()
		require.NoError(b, err)
		g.Go(func() error {
			defer c.Close()
			for at := wal.LSN(BlockSize); at < end; {
				f, err := c.Next(context.Background(), at, 0)
				if err != nil || !f.Intact() {
					return errors.Join(err, ErrCorrupt)
				}
				at = f.Range.End
				p.moved(i, at)
			}
			return nil
		})
	}
	write(b, q)
	require.NoError(b, g.Wait())
	b.StopTimer()
}

func fanOutSocket(b *testing.B, readers int) {
	var conns []net.Conn
	g := new(errgroup.Group)
	var ready sync.WaitGroup
	for range readers {
		conn, c := socketReader(b, 0)
		conns = append(conns, conn)
		ready.Add(1)
		g.Go(func() error {
			var m [8]byte
			_, err := io.ReadFull(c.conn, m[:])
			ready.Done()
			<-c.done
			return errors.Join(err, c.err)
		})
	}
	ready.Wait()
	data, crc := make([]byte, benchPiece), uint32(0)
	pattern(data, 0)
	b.ResetTimer()
	for range b.N {
		crc = checksumMore(crc, data)
		for _, c := range conns {
			if _, err := c.Write(data); err != nil {
				b.Fatal(err)
			}
		}
	}
	for _, c := range conns {
		require.NoError(b, c.Close())
	}
	require.NoError(b, g.Wait())
	b.StopTimer()
}

// socketReader starts a process that reads from a socket.
func socketReader(b *testing.B, every uint64) (net.Conn, *child) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(b, err)
	ours, theirs := os.NewFile(uintptr(fds[0]), "data"), os.NewFile(uintptr(fds[1]), "data")
	conn, err := net.FileConn(ours)
	require.NoError(b, err)
	c := spawn(b, "measure-socket", "", []*os.File{theirs}, setting("EVERY", every))
	require.NoError(b, errors.Join(ours.Close(), theirs.Close()))
	return conn, c
}

// BenchmarkWake measures how long it takes until a reader that sleeps has what
// was written.
func BenchmarkWake(b *testing.B) {
	b.Run("shared", func(b *testing.B) {
		q := newShared(b, Options{Size: benchRing, Start: BlockSize})
		c, _ := measured(b, q, BlockSize+wal.LSN(b.N)*64, 1)
		data := make([]byte, 64)
		wake(b, c, func() error {
			defer func() { q.Release(q.Head()) }()
			return q.Write(b.Context(), data)
		})
		<-c.done
	})
	b.Run("socket", func(b *testing.B) {
		conn, c := socketReader(b, 1)
		data := make([]byte, 64)
		wake(b, c, func() error {
			now, err := machineClock()
			binary.BigEndian.PutUint64(data, uint64(now))
			_, writeErr := conn.Write(data)
			return errors.Join(err, writeErr)
		})
		require.NoError(b, conn.Close())
		<-c.done
	})
}

// wake sends one after the other, each when the reader sleeps again.
func wake(b *testing.B, c *child, send func() error) {
	var m [8]byte
	_, err := io.ReadFull(c.conn, m[:])
	require.NoError(b, err)
	took := make([]time.Duration, 0, b.N)
	asleep := time.NewTicker(200 * time.Microsecond)
	defer asleep.Stop()
	b.ResetTimer()
	for range b.N {
		<-asleep.C
		require.NoError(b, send())
		_, err := io.ReadFull(c.conn, m[:])
		require.NoError(b, err)
		took = append(took, time.Duration(binary.BigEndian.Uint64(m[:])))
	}
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "p50-us")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1e3, "p99-us")
}
