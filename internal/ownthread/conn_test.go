package ownthread_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/walhaven/walhaven/internal/ownthread"
)

const places = 4

func TestMain(m *testing.M) {
	ownthread.Allow(places)
	goleak.VerifyTestMain(m)
}

// pair returns a connection that was taken, and its peer.
func pair(t *testing.T, network string) (taken *ownthread.Conn, peer net.Conn) {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	ln, err := net.Listen(network, address)
	require.NoError(t, err)
	defer ln.Close()
	peer, err = net.Dial(network, ln.Addr().String())
	require.NoError(t, err)
	c, err := ln.Accept()
	require.NoError(t, err)
	taken, ok := ownthread.Take(c)
	require.True(t, ok)
	_, err = c.Read(make([]byte, 1))
	require.ErrorIs(t, err, net.ErrClosed, "it has changed hands")
	t.Cleanup(func() { _, _ = taken.Close(), peer.Close() })
	return taken, peer
}

func TestBytesPassBothWays(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			c, peer := pair(t, network)
			require.Equal(t, network, c.LocalAddr().Network())
			require.Equal(t, network, c.RemoteAddr().Network())
			data := make([]byte, 3<<20) // more than any socket holds
			random := rand.NewChaCha8([32]byte{1})
			_, _ = random.Read(data)
			echoed := make(chan error, 1)
			go func() {
				_, err := io.Copy(peer, peer)
				echoed <- errors.Join(err, peer.Close())
			}()
			wrote := make(chan error, 1)
			go func() {
				half := len(data) / 2
				n, err := c.Write(data[:half])
				if err == nil && n != half {
					err = io.ErrShortWrite
				}
				pieces := [][]byte{data[half : half+1], nil, data[half+1 : half+70000], data[half+70000:]}
				wrote <- errors.Join(err, c.WritePieces(pieces))
			}()
			got := make([]byte, len(data))
			_, err := io.ReadFull(c, got)
			require.NoError(t, err)
			require.NoError(t, <-wrote)
			require.True(t, bytes.Equal(data, got))
			require.NoError(t, c.Close())
			<-echoed
			_, err = c.Write([]byte("x"))
			require.ErrorIs(t, err, net.ErrClosed)
			require.ErrorIs(t, c.Close(), net.ErrClosed)
		})
	}
}

func TestEndOfThePeer(t *testing.T) {
	c, peer := pair(t, "tcp")
	_, err := peer.Write([]byte("last"))
	require.NoError(t, err)
	require.NoError(t, peer.Close())
	got, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Equal(t, "last", string(got))
	for err == nil {
		_, err = c.Write([]byte("x"))
	}
	require.True(t, errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET), err)
}

// reading and writing block as long as the peer does nothing.
var blocking = map[string]func(*ownthread.Conn) error{
	"reading": func(c *ownthread.Conn) error {
		_, err := c.Read(make([]byte, 1))
		return err
	},
	"writing": func(c *ownthread.Conn) (err error) {
		for b := make([]byte, 1<<20); err == nil; {
			_, err = c.Write(b)
		}
		return err
	},
}

// Whoever waits is called back by a deadline, set before or meanwhile, and by
// Close: at once, and after having waited for long.
func TestWaitsEnd(t *testing.T) {
	ends := map[string]struct {
		end  func(*ownthread.Conn) error
		want error
	}{
		"deadline that has passed": {func(c *ownthread.Conn) error { return c.SetDeadline(time.Unix(1, 0)) }, os.ErrDeadlineExceeded},
		"deadline":                 {func(c *ownthread.Conn) error { return c.SetDeadline(time.Now().Add(30 * time.Millisecond)) }, os.ErrDeadlineExceeded},
		"close":                    {func(c *ownthread.Conn) error { return c.Close() }, net.ErrClosed},
	}
	for name, e := range ends {
		for what, f := range blocking {
			for _, after := range []time.Duration{0, time.Millisecond, 100 * time.Millisecond} {
				t.Run(name+"/"+what+"/"+after.String(), func(t *testing.T) {
					c, _ := pair(t, "tcp")
					done := make(chan error, 1)
					go func() { done <- f(c) }()
					<-time.After(after)
					require.NoError(t, e.end(c))
					require.ErrorIs(t, <-done, e.want)
				})
			}
		}
	}
}

func TestReadingGoesOnAfterADeadline(t *testing.T) {
	c, peer := pair(t, "tcp")
	require.NoError(t, c.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	_, err := c.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, c.SetReadDeadline(time.Time{}))
	read := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 1))
		read <- err
	}()
	<-time.After(60 * time.Millisecond)
	_, err = peer.Write([]byte("x"))
	require.NoError(t, err)
	require.NoError(t, <-read)
}

// A step of the clock neither ends a wait nor makes it longer. The deadlines are as if the
// clock had been stepped by a day since they were made.
func TestDeadlinesPassThoughTheClockIsStepped(t *testing.T) {
	stepped := func(at time.Time, seconds int64) time.Time {
		// The first word of a Time with a monotonic reading has the clock's seconds above 30
		// bits of nanoseconds; the other reading stays.
		word := (*uint64)(unsafe.Pointer(&at))
		*word += uint64(seconds) << 30
		return at
	}
	const day = 24 * 60 * 60
	now := time.Now()
	require.Zero(t, now.Sub(stepped(now, day)), "of the monotonic clock")
	require.Equal(t, now.Unix()+day, stepped(now, day).Unix())

	c, _ := pair(t, "tcp")
	defer time.AfterFunc(time.Minute, func() { _ = c.Close() }).Stop()
	require.NoError(t, c.SetReadDeadline(stepped(time.Now().Add(30*time.Millisecond), day)))
	_, err := c.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "set, and then the clock was put back")
	for _, seconds := range []int64{day, -day} {
		c, peer := pair(t, "tcp")
		require.NoError(t, c.SetReadDeadline(stepped(time.Now().Add(time.Hour), seconds)))
		_, err = peer.Write([]byte("x"))
		require.NoError(t, err)
		_, err = c.Read(make([]byte, 1))
		require.NoError(t, err, "an hour is left")
	}
}

// There are so many places and no more; they come back.
func TestPlaces(t *testing.T) {
	for range 3 {
		var taken []*ownthread.Conn
		for range places {
			c, _ := pair(t, "unix")
			taken = append(taken, c)
		}
		fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		require.NoError(t, err)
		f := os.NewFile(uintptr(fds[0]), "")
		c, err := net.FileConn(f)
		require.NoError(t, errors.Join(err, f.Close(), syscall.Close(fds[1])))
		_, ok := ownthread.Take(c)
		require.False(t, ok)
		require.NoError(t, c.Close(), "it was left alone")
		for _, c := range taken {
			require.NoError(t, c.Close())
		}
	}
	a, b := net.Pipe()
	_, ok := ownthread.Take(a)
	require.False(t, ok, "what is no socket")
	require.NoError(t, errors.Join(a.Close(), b.Close()))
}

// Whoever detaches a connection goes on where it stood; the peer notices nothing.
func TestDetachedConnectionGoesOn(t *testing.T) {
	c, peer := pair(t, "tcp")
	_, err := peer.Write([]byte("ab"))
	require.NoError(t, err)
	one := make([]byte, 1)
	_, err = io.ReadFull(c, one)
	require.NoError(t, err)
	require.Equal(t, "a", string(one))
	f, err := c.Detach()
	require.NoError(t, err)
	_, err = c.Read(one)
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = c.Detach()
	require.ErrorIs(t, err, net.ErrClosed)
	other, err := net.FileConn(f)
	require.NoError(t, errors.Join(err, f.Close()))
	next, ok := ownthread.Take(other)
	require.True(t, ok)
	defer next.Close()
	_, err = io.ReadFull(next, one)
	require.NoError(t, err)
	require.Equal(t, "b", string(one))
	_, err = next.Write([]byte("c"))
	require.NoError(t, err)
	_, err = io.ReadFull(peer, one)
	require.NoError(t, err)
	require.Equal(t, "c", string(one))
	require.NoError(t, next.Close())
	_, err = peer.Read(one)
	require.ErrorIs(t, err, io.EOF, "nobody else holds it")
}
