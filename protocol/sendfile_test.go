package protocol_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/walhaven/walhaven/internal/alloctest"
	"github.com/walhaven/walhaven/internal/ownthread"
	"github.com/walhaven/walhaven/protocol"
)

// someFile returns an open file of n bytes, and what is in it.
func someFile(t testing.TB, n int) (*os.File, []byte) {
	t.Helper()
	random := rand.NewChaCha8([32]byte{7})
	content := make([]byte, n)
	_, _ = random.Read(content)
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	f, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f, content
}

// narrowPair is a connection that takes little at a time.
func narrowPair(t testing.TB, network string) (a, b net.Conn) {
	t.Helper()
	address := map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "socket")}[network]
	ln, err := net.Listen(network, address)
	require.NoError(t, err)
	defer ln.Close()
	a, err = net.Dial(network, ln.Addr().String())
	require.NoError(t, err)
	b, err = ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	require.NoError(t, a.(interface{ SetWriteBuffer(int) error }).SetWriteBuffer(20_000))
	require.NoError(t, b.(interface{ SetReadBuffer(int) error }).SetReadBuffer(20_000))
	return a, b
}

// Parts of files arrive whole and in order among messages of all other kinds,
// though the connection takes only some of each at a time.
func TestFilesAreSentAsMessages(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			a, b := narrowPair(t, network)
			client := protocol.NewCopyStream(context.Background(), a, protocol.StreamOptions{})
			defer client.Close()
			server := protocol.NewCopyStream(context.Background(), b, protocol.StreamOptions{Server: true, MaxFrame: 4 << 20})
			defer server.Close()
			require.True(t, client.SendsFiles())
			f, content := someFile(t, 3<<20)
			sizes := []int{1, 5000, 128 << 10, 2<<20 + 77, 8192, 1, 300_000}
			var g errgroup.Group
			g.Go(func() error {
				for i, size := range sizes {
					err := errors.Join(
						client.Send([]byte("small")),
						client.SendKept(content[:10_000], []byte("kept")),
						client.SendFile([]byte("head"), protocol.FileRange{File: f, Offset: int64(i * 100), Length: size}),
						client.Send([]byte("next")), client.Send(content[:9000]))
					if err != nil {
						return err
					}
				}
				return client.CloseSend()
			})
			receive := func(want ...[]byte) {
				got, err := server.Receive()
				require.NoError(t, err)
				require.True(t, bytes.Equal(bytes.Join(want, nil), got), "%d bytes, %d wanted first", len(got), len(want[0]))
			}
			for i, size := range sizes {
				receive([]byte("small"))
				receive(content[:10_000], []byte("kept"))
				receive([]byte("head"), content[i*100:][:size])
				receive([]byte("next"))
				receive(content[:9000])
			}
			_, err := server.Receive()
			require.ErrorIs(t, err, io.EOF)
			require.NoError(t, g.Wait())
			require.Error(t, client.SendFile(nil, protocol.FileRange{File: f, Length: 1}), "behind the end")
		})
	}
}

// Nothing follows a message whose file was too short for it: what came next would
// be taken for its rest.
func TestFileThatEndsTooEarlyBreaksTheStream(t *testing.T) {
	a, b := narrowPair(t, "tcp")
	client := protocol.NewCopyStream(context.Background(), a, protocol.StreamOptions{})
	defer client.Close()
	f, content := someFile(t, 100_000)
	got := make(chan []byte, 1)
	go func() {
		all, _ := io.ReadAll(b)
		got <- all
	}()
	err := client.SendFile([]byte("head"), protocol.FileRange{File: f, Offset: 40_000, Length: 70_000})
	require.ErrorContains(t, err, "file ended")
	require.NotErrorIs(t, err, io.ErrUnexpectedEOF, "that would be the peer's end, of which nobody is told")
	require.Error(t, client.Send([]byte("x")))
	require.Error(t, client.Flush())
	require.Error(t, client.CloseSend())
	require.NoError(t, client.Close())
	want := binary.BigEndian.AppendUint32([]byte{'d'}, 4+4+70_000)
	require.Equal(t, append(append(want, "head"...), content[40_000:]...), <-got)
}

// endless begins to send what no connection has room for, and returns when it is
// in the middle.
func endless(t *testing.T) (client *protocol.CopyStream, peer net.Conn, sent chan error) {
	a, b := narrowPair(t, "tcp")
	client = protocol.NewCopyStream(context.Background(), a, protocol.StreamOptions{Server: true})
	t.Cleanup(func() { _ = client.Close() })
	f, _ := someFile(t, 16<<20)
	sent = make(chan error, 1)
	go func() { sent <- client.SendFile([]byte("head"), protocol.FileRange{File: f, Length: 16 << 20}) }()
	_, err := io.ReadFull(b, make([]byte, 10_000))
	require.NoError(t, err)
	return client, b, sent
}

// An interruption ends the wait for room, and nothing follows the begun message.
func TestAbortInTheMiddleOfAFile(t *testing.T) {
	client, peer, sent := endless(t)
	cause := errors.New("enough")
	client.Abort(cause)
	require.ErrorIs(t, <-sent, cause)
	require.Error(t, client.SendError(protocol.Errorf(protocol.CodeInternalError, "sorry")))
	require.NoError(t, client.Close())
	require.NoError(t, peer.SetReadDeadline(time.Now().Add(testTimeout)))
	rest, err := io.ReadAll(peer)
	require.NoError(t, err)
	require.Less(t, len(rest), 16<<20)
	require.NotContains(t, string(rest[max(0, len(rest)-200):]), "sorry")
}

func TestPeerThatClosesInTheMiddleOfAFile(t *testing.T) {
	client, peer, sent := endless(t)
	require.NoError(t, peer.Close())
	err := <-sent
	require.True(t, errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE), err)
	require.Error(t, client.Send([]byte("x")))
}

// ownFd is a file that cannot be sent by its descriptor.
type ownFd struct {
	io.ReaderAt
	fd uintptr
}

func (f ownFd) Fd() uintptr { return f.fd }

// A file system without sendfile costs copies and nothing else.
func TestFileThatCannotBeSentIsCopied(t *testing.T) {
	client, server := streamPair(t)
	f, content := someFile(t, 500_000)
	folder, err := os.Open(t.TempDir())
	require.NoError(t, err)
	defer folder.Close()
	var g errgroup.Group
	g.Go(func() error {
		err := client.SendFile([]byte("head"), protocol.FileRange{File: ownFd{f, folder.Fd()}, Offset: 1000, Length: 200_000})
		return errors.Join(err, client.Send([]byte("next")), client.Flush())
	})
	got, err := server.Receive()
	require.NoError(t, err)
	require.True(t, bytes.Equal(append([]byte("head"), content[1000:201_000]...), got))
	got, err = server.Receive()
	require.NoError(t, err)
	require.Equal(t, "next", string(got))
	require.NoError(t, g.Wait())
	require.False(t, client.SendsFiles(), "one try is enough")
	require.Error(t, client.SendFile(nil, protocol.FileRange{File: f, Length: 1}))

	client, server = streamPair(t)
	go func() { _, _ = server.Receive() }()
	err = client.SendFile(nil, protocol.FileRange{File: ownFd{bytes.NewReader(content[:100_000]), folder.Fd()}, Length: 200_000})
	require.ErrorContains(t, err, "file ended")
	require.Error(t, client.Send([]byte("x")))
}

// What is encrypted, is no socket, or is nobody's but a thread's, gets no files.
func TestWhereFilesAreNotSent(t *testing.T) {
	ownthread.Allow(1)
	stream := func(conn net.Conn) *protocol.CopyStream {
		s := protocol.NewCopyStream(context.Background(), conn, protocol.StreamOptions{})
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	a, b := tcpPair(t)
	require.False(t, stream(tls.Server(a, &tls.Config{MinVersion: tls.VersionTLS13})).SendsFiles())
	near, far := net.Pipe()
	defer far.Close()
	require.False(t, stream(near).SendsFiles())
	s := stream(b)
	require.True(t, s.SendsFiles())
	s.OwnThread()
	require.False(t, s.SendsFiles())
	f, _ := someFile(t, 10)
	require.Error(t, s.SendFile(nil, protocol.FileRange{File: f, Length: 1}))
	require.NoError(t, s.Send([]byte("x")), "nothing was begun")
}

func TestSendFileAllocatesNothing(t *testing.T) {
	a, b := tcpPair(t)
	client := protocol.NewCopyStream(context.Background(), a, protocol.StreamOptions{})
	go func() {
		buf := make([]byte, 1<<20)
		for {
			if _, err := b.Read(buf); err != nil {
				return
			}
		}
	}()
	defer client.Close()
	f, _ := someFile(t, 128<<10)
	head := make([]byte, 25)
	alloctest.None(t, 100, func() {
		if err := client.SendFile(head, protocol.FileRange{File: f, Length: 128 << 10}); err != nil {
			panic(err)
		}
	})
}
