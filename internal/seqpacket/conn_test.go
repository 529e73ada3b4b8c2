package seqpacket_test

import (
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/walhaven/walhaven/internal/seqpacket"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func pair(t *testing.T) (a, b *seqpacket.Conn) {
	t.Helper()
	a, f, err := seqpacket.Pair()
	require.NoError(t, err)
	b, err = seqpacket.FromFile(f)
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return a, b
}

func TestMessagesKeepTheirBounds(t *testing.T) {
	a, b := pair(t)
	long := strings.Repeat("x", seqpacket.MaxMessage)
	go func() {
		for _, m := range []string{"one", "two", long} {
			_ = a.Send(0, []byte(m))
		}
		_ = a.Close()
	}()
	for _, want := range []string{"one", "two", long} {
		got, files, err := b.Receive()
		require.NoError(t, err)
		require.Equal(t, want, string(got))
		require.Empty(t, files)
	}
	_, _, err := b.Receive()
	require.ErrorIs(t, err, io.EOF)
}

func TestDescriptorsTravel(t *testing.T) {
	a, b := pair(t)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	require.NoError(t, a.Send(time.Minute, []byte("here"), w))
	require.NoError(t, w.Close())
	_, files, err := b.Receive()
	require.NoError(t, err)
	require.Len(t, files, 1)
	flags, err := unix.FcntlInt(files[0].Fd(), unix.F_GETFD, 0)
	require.NoError(t, err)
	require.NotZero(t, flags&unix.FD_CLOEXEC, "children of the receiver must not get it")
	_, err = files[0].WriteString("through")
	require.NoError(t, err)
	require.NoError(t, files[0].Close())
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, "through", string(got))
}

func TestBadMessagesAreRefusedBeforeTheyAreSent(t *testing.T) {
	a, _ := pair(t)
	require.ErrorIs(t, a.Send(0, nil), seqpacket.ErrTooLong)
	require.ErrorIs(t, a.Send(0, make([]byte, seqpacket.MaxMessage+1)), seqpacket.ErrTooLong)
	require.ErrorIs(t, a.Send(0, []byte("x"), make([]*os.File, seqpacket.MaxFiles+1)...), seqpacket.ErrTooLong)
}

func TestLongerMessagesOfAStrangerAreRefused(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	b, err := seqpacket.FromFile(os.NewFile(uintptr(fds[1]), "b"))
	require.NoError(t, err)
	defer b.Close()
	defer unix.Close(fds[0])
	_, err = unix.Write(fds[0], make([]byte, seqpacket.MaxMessage+100))
	require.NoError(t, err)
	_, _, err = b.Receive()
	require.ErrorIs(t, err, seqpacket.ErrTooLong)
}

func TestPeerThatDoesNotReadIsNotWaitedForForEver(t *testing.T) {
	a, _ := pair(t)
	var err error
	for range 1000 {
		if err = a.Send(10*time.Millisecond, make([]byte, 32<<10)); err != nil {
			break
		}
	}
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

func TestSilenceIsNoticed(t *testing.T) {
	_, b := pair(t)
	require.NoError(t, b.SetReceiveTimeout(10*time.Millisecond))
	_, _, err := b.Receive()
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

func TestOnlySocketsOfThisKind(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer w.Close()
	_, err = seqpacket.FromFile(r)
	require.ErrorContains(t, err, "no socket")
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(fds[0])
	_, err = seqpacket.FromFile(os.NewFile(uintptr(fds[1]), "stream"))
	require.ErrorContains(t, err, "SOCK_SEQPACKET")
}

func TestTrySendWaitsForNothing(t *testing.T) {
	a, b := pair(t)
	sent := 0
	for a.TrySend([]byte("x")) {
		sent++
	}
	require.Positive(t, sent)
	for range sent {
		got, _, err := b.Receive()
		require.NoError(t, err)
		require.Equal(t, "x", string(got))
	}
	require.True(t, a.TrySend([]byte("y")))
	require.False(t, a.TrySend(nil))
	require.NoError(t, b.Close())
	require.False(t, a.TrySend([]byte("z")))
}

func TestReceiveIsInterrupted(t *testing.T) {
	a, b := pair(t)
	done := make(chan error, 1)
	go func() {
		_, _, err := b.Receive()
		done <- err
	}()
	require.NoError(t, b.SetReceiveTimeout(-1))
	require.ErrorIs(t, <-done, os.ErrDeadlineExceeded)
	require.NoError(t, b.SetReceiveTimeout(0))
	require.NoError(t, a.Send(0, []byte("x")))
	_, _, err := b.Receive()
	require.NoError(t, err)
}
