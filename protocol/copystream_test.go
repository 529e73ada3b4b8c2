package protocol_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/walhaven/walhaven/internal/alloctest"
	"github.com/walhaven/walhaven/protocol"
)

// tcpPair returns the two ends of a connection over loopback.
func tcpPair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	a, err = net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	b, err = ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return a, b
}

// streamPair returns the client's and the server's side of a stream.
func streamPair(t testing.TB) (client, server *protocol.CopyStream) {
	t.Helper()
	a, b := tcpPair(t)
	client = protocol.NewCopyStream(context.Background(), a, protocol.StreamOptions{})
	server = protocol.NewCopyStream(context.Background(), b, protocol.StreamOptions{Server: true})
	t.Cleanup(func() { _, _ = client.Close(), server.Close() })
	return client, server
}

// What follows a head lands where the receiver wants it, whether it came with
// the head or not, and messages of all sizes and of other kinds follow each other.
func TestRestIsReadInPlace(t *testing.T) {
	client, server := streamPair(t)
	sizes := []int{0, 1, 24, 25, 26, 300, 8 << 10, 128<<10 + 25, 25, 500_000, 7, 128 << 10}
	r := rand.New(rand.NewPCG(1, 2))
	var sent [][]byte
	for range 20 {
		for _, size := range sizes {
			payload := make([]byte, size)
			for i := range payload {
				payload[i] = byte(r.Uint32())
			}
			sent = append(sent, payload)
		}
	}
	var g errgroup.Group
	g.Go(func() error {
		for _, payload := range sent {
			if err := client.Send(payload); err != nil {
				return err
			}
		}
		return client.CloseSend()
	})
	for _, want := range sent {
		head, rest, err := server.ReceiveHead(25)
		require.NoError(t, err)
		require.Len(t, head, min(25, len(want)))
		got := append([]byte{}, head...)
		require.Equal(t, len(want)-len(head), rest)
		if rest > 0 {
			_, err = server.Receive()
			require.ErrorContains(t, err, "were not read")
		}
		body := make([]byte, rest)
		require.NoError(t, server.ReadRest(body[:rest/3]))
		require.NoError(t, server.ReadRest(body[rest/3:]))
		require.Equal(t, want, append(got, body...))
	}
	_, _, err := server.ReceiveHead(25)
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, g.Wait())
}

func TestRestIsBounded(t *testing.T) {
	client, server := streamPair(t)
	require.NoError(t, client.Send(make([]byte, 100)))
	require.NoError(t, client.Flush())
	_, rest, err := server.ReceiveHead(25)
	require.NoError(t, err)
	require.Error(t, server.ReadRest(make([]byte, rest+1)))
	_, err = server.Receive()
	require.Error(t, err, "where the stream stands is not known")
}

func TestEndInsideTheRest(t *testing.T) {
	client, server := tcpPair(t)
	stream := protocol.NewCopyStream(context.Background(), server, protocol.StreamOptions{Server: true})
	defer stream.Close()
	_, err := client.Write([]byte("d\x00\x00\x00\x20abcd"))
	require.NoError(t, err)
	_, rest, err := stream.ReceiveHead(2)
	require.NoError(t, err)
	require.Equal(t, 26, rest)
	require.NoError(t, client.Close())
	require.ErrorIs(t, stream.ReadRest(make([]byte, rest)), protocol.ErrPeerClosed)
	_, err = stream.Receive()
	require.ErrorIs(t, err, protocol.ErrPeerClosed)
}

func TestStreamMessages(t *testing.T) {
	client, server := streamPair(t)
	require.NoError(t, client.Send([]byte("one"), nil, []byte("two")))
	require.NoError(t, client.Send())
	require.NoError(t, client.Send([]byte("three")))
	require.NoError(t, client.CloseSend())
	require.NoError(t, client.CloseSend())
	require.Error(t, client.Send([]byte("late")))
	for i, want := range []string{"onetwo", "", "three"} {
		got, err := server.Receive()
		require.NoError(t, err)
		require.Equal(t, want, string(got))
		require.True(t, server.Buffered(), i)
	}
	for range 2 {
		_, err := server.Receive()
		require.ErrorIs(t, err, io.EOF)
	}
}

// What is kept comes in order with what is not, whatever its size.
func TestKeptMessages(t *testing.T) {
	client, server := streamPair(t)
	var want []string
	var g errgroup.Group
	for i := range 40 {
		want = append(want, strings.Repeat(string(rune('a'+i%26)), []int{0, 10, 8192, 5000, 70000}[i%5]))
	}
	g.Go(func() error {
		for i, text := range want {
			send := client.SendKept
			if i%7 == 6 {
				send = client.Send
			}
			if err := send([]byte(text[:len(text)/3]), []byte(text[len(text)/3:])); err != nil {
				return err
			}
		}
		return client.CloseSend()
	})
	for i := range want {
		got, err := server.Receive()
		require.NoError(t, err)
		require.Equal(t, want[i], string(got), i)
	}
	require.NoError(t, g.Wait())
	require.Error(t, client.SendKept([]byte("late")))
}

func TestBufferedSeesOnlyWholeMessages(t *testing.T) {
	a, b := tcpPair(t)
	server := protocol.NewCopyStream(context.Background(), b, protocol.StreamOptions{Server: true})
	defer server.Close()
	require.False(t, server.Buffered())
	_, err := a.Write(append(frame('d', "x"), frame('d', "yz")[:6]...))
	require.NoError(t, err)
	_, err = server.Receive()
	require.NoError(t, err)
	require.False(t, server.Buffered())
}

func TestPendingBytesComeFirst(t *testing.T) {
	a, b := tcpPair(t)
	whole := append(frame('d', "first"), frame('d', "second")...)
	client := protocol.NewCopyStream(context.Background(), a, protocol.StreamOptions{Pending: whole[:13]})
	defer client.Close()
	_, err := b.Write(whole[13:])
	require.NoError(t, err)
	for _, want := range []string{"first", "second"} {
		got, err := client.Receive()
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
}

// TestBothSidesSendMuch sends random frames of all sizes both ways at once and
// compares digests. Neither side would get through if a half waited for the
// other.
func TestBothSidesSendMuch(t *testing.T) {
	client, server := streamPair(t)
	const total = 24 << 20
	send := func(s *protocol.CopyStream, sum hash.Hash, seed uint64) error {
		random := rand.New(rand.NewPCG(seed, 1))
		data := make([]byte, 1<<20)
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		for sent := 0; sent < total; {
			var parts [][]byte
			for range 1 + random.IntN(4) {
				n := random.IntN(1 << (2 + random.IntN(17)))
				at := random.IntN(len(data) - n + 1)
				parts = append(parts, data[at:at+n])
				sum.Write(data[at : at+n])
				sent += n
			}
			if err := s.Send(parts...); err != nil {
				return err
			}
		}
		return s.CloseSend()
	}
	receive := func(s *protocol.CopyStream, sum hash.Hash) error {
		for {
			p, err := s.Receive()
			if errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			sum.Write(p)
		}
	}
	var sums [4]hash.Hash
	for i := range sums {
		sums[i] = sha256.New()
	}
	var g errgroup.Group
	g.Go(func() error { return send(client, sums[0], 1) })
	g.Go(func() error { return receive(server, sums[1]) })
	g.Go(func() error { return send(server, sums[2], 2) })
	g.Go(func() error { return receive(client, sums[3]) })
	require.NoError(t, g.Wait())
	require.Equal(t, sums[0].Sum(nil), sums[1].Sum(nil))
	require.Equal(t, sums[2].Sum(nil), sums[3].Sum(nil))
}

// TestManySenders checks that frames of concurrent senders never mix.
func TestManySenders(t *testing.T) {
	client, server := streamPair(t)
	const senders, frames = 8, 200
	var g errgroup.Group
	for i := range senders {
		g.Go(func() error {
			payload := bytes.Repeat([]byte{byte('a' + i)}, 1+i*3000)
			for range frames {
				if err := client.Send(payload[:len(payload)/2], payload[len(payload)/2:]); err != nil {
					return err
				}
			}
			return client.Flush()
		})
	}
	for range senders * frames {
		p, err := server.Receive()
		require.NoError(t, err)
		i := int(p[0] - 'a')
		require.Equal(t, bytes.Repeat(p[:1], 1+i*3000), p)
	}
	require.NoError(t, g.Wait())
}

// oneByte hands out what it reads byte by byte, the worst a network can do.
type oneByte struct{ net.Conn }

func (c oneByte) Read(p []byte) (int, error) { return c.Conn.Read(p[:min(1, len(p))]) }

func TestFramesSurviveAnySplit(t *testing.T) {
	a, b := tcpPair(t)
	server := protocol.NewCopyStream(context.Background(), oneByte{b}, protocol.StreamOptions{Server: true})
	defer server.Close()
	go func() { _, _ = a.Write(bytes.Repeat(append(frame('d', "hello"), frame('d', "")...), 100)) }()
	for i := range 200 {
		got, err := server.Receive()
		require.NoError(t, err)
		require.Equal(t, []string{"hello", ""}[i%2], string(got))
	}
}

// TestCancelEndsBothHalves is the promise of one second: the peer neither reads
// nor writes and every buffer on the way is full.
func TestCancelEndsBothHalves(t *testing.T) {
	for name, end := range map[string]func(context.CancelCauseFunc, *protocol.CopyStream, error){
		"context": func(cancel context.CancelCauseFunc, _ *protocol.CopyStream, err error) { cancel(err) },
		"Abort":   func(_ context.CancelCauseFunc, s *protocol.CopyStream, err error) { s.Abort(err) },
	} {
		t.Run(name, func(t *testing.T) {
			a, _ := tcpPair(t)
			ctx, cancel := context.WithCancelCause(context.Background())
			defer cancel(nil)
			s := protocol.NewCopyStream(ctx, a, protocol.StreamOptions{Server: true})
			defer s.Close()
			cause := errors.New("enough")
			sent := make(chan struct{}, 1)
			var sendErr, receiveErr error
			var wg sync.WaitGroup
			wg.Go(func() {
				payload := make([]byte, 1<<20)
				for sendErr == nil {
					sendErr = s.Send(payload)
					select {
					case sent <- struct{}{}:
					default:
					}
				}
			})
			wg.Go(func() { _, receiveErr = s.Receive() })
			waitBlocked(sent)
			started := time.Now()
			end(cancel, s, cause)
			wg.Wait()
			require.Less(t, time.Since(started), testTimeout)
			require.ErrorIs(t, sendErr, cause)
			require.ErrorIs(t, receiveErr, cause)
			_, err := s.Receive()
			require.ErrorIs(t, err, cause)
		})
	}
}

// waitBlocked returns when nothing was sent for a moment: the buffers are full.
func waitBlocked(sent <-chan struct{}) {
	for {
		select {
		case <-sent:
		case <-time.After(100 * time.Millisecond):
			return
		}
	}
}

func TestReadIdle(t *testing.T) {
	client, server := streamPair(t)
	server.SetReadIdle(20 * time.Millisecond)
	_, err := server.Receive()
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	// It is no end: what arrives later is received.
	server.SetReadIdle(0)
	require.NoError(t, client.Send([]byte("late")))
	require.NoError(t, client.Flush())
	got, err := server.Receive()
	require.NoError(t, err)
	require.Equal(t, "late", string(got))
}

func TestWhatEndsReceiving(t *testing.T) {
	refusal := string(frame('E', "SERROR\x00VERROR\x00C58P01\x00Mremoved\x00DWhere.\x00\x00"))
	notice := string(frame('N', "SNOTICE\x00VNOTICE\x00C00000\x00Mhello\x00\x00"))
	for _, tc := range []struct {
		name   string
		server bool
		bytes  string
		check  func(*testing.T, error)
	}{
		{"client sees an error", false, notice + string(frame('S', "a\x00b\x00")) + refusal, func(t *testing.T, err error) {
			var e *protocol.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, protocol.Error{Severity: "ERROR", Code: "58P01", Message: "removed", Detail: "Where."}, *e)
		}},
		{"client sees the server stop", false, string(frame('C', "COPY 0\x00")), is(protocol.ErrStreamComplete)},
		{"client sees CopyDone", false, string(frame('c', "")), is(io.EOF)},
		{"server sees Terminate", true, string(frame('X', "")), is(protocol.ErrPeerClosed)},
		{"server sees the end of file", true, "", is(protocol.ErrPeerClosed)},
		{"server sees half a message", true, string(frame('d', "xyz")[:6]), is(protocol.ErrPeerClosed)},
		{"server sees a query", true, string(frame('Q', "SELECT 1\x00")), violates(`invalid standby message type "Q"`)},
		{"server sees CopyFail", true, string(frame('f', "x\x00")), violates(`invalid standby message type "f"`)},
		{"server sees too much", true, "d\x7f\xff\xff\xff", violates("")},
		{"server sees too little", true, "d\x00\x00\x00\x03", violates("")},
		{"client sees a client", false, string(frame('Q', "x\x00")), violates("")},
		{"client sees a broken error", false, string(frame('E', "S")), func(t *testing.T, err error) { require.Error(t, err) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, b := tcpPair(t)
			s := protocol.NewCopyStream(context.Background(), b, protocol.StreamOptions{Server: tc.server})
			defer s.Close()
			_, err := a.Write([]byte(tc.bytes))
			require.NoError(t, err)
			require.NoError(t, a.(*net.TCPConn).CloseWrite())
			_, first := s.Receive()
			tc.check(t, first)
			_, second := s.Receive()
			require.Equal(t, first, second)
		})
	}
}

func is(want error) func(*testing.T, error) {
	return func(t *testing.T, err error) { require.ErrorIs(t, err, want) }
}

func violates(text string) func(*testing.T, error) {
	return func(t *testing.T, err error) {
		require.Equal(t, protocol.CodeProtocolViolation, protocol.SQLState(err))
		require.ErrorContains(t, err, text)
	}
}

// TestClosedPeerFailsSend checks that a vanished peer does not look like
// success for ever.
func TestClosedPeerFailsSend(t *testing.T) {
	client, server := streamPair(t)
	require.NoError(t, server.Close())
	payload := make([]byte, 256<<10)
	var err error
	for range 1000 {
		if err = client.Send(payload); err != nil {
			break
		}
	}
	require.Error(t, err)
	require.ErrorContains(t, client.Flush(), "send")
}

// walFrame is XLogData as a sender writes it: a header and WAL from elsewhere.
type walFrame struct {
	header [25]byte
	wal    []byte
}

// TestNoAllocationPerFrame drives both sides from one goroutine, which works
// because the frames fit into the socket buffers.
func TestNoAllocationPerFrame(t *testing.T) {
	for name, size := range map[string]int{"small": 100, "page": 8192, "big": 64 << 10} {
		t.Run(name, func(t *testing.T) {
			send, receive := streamPair(t)
			f := &walFrame{wal: make([]byte, size)}
			var failed error
			once := func() {
				for range 4 {
					if err := send.Send(f.header[:], f.wal); err != nil {
						failed = err
						return
					}
				}
				if err := send.Flush(); err != nil {
					failed = err
					return
				}
				for range 4 {
					if p, err := receive.Receive(); err != nil || len(p) != 25+size {
						failed = errors.Join(err, errors.New("bad frame"))
						return
					}
				}
			}
			once()
			alloctest.None(t, 500, once)
			require.NoError(t, failed)
		})
	}
}

// TestBigPartsAreNotCopied sends far more than fits into our buffers and checks
// that memory did not grow with it.
func TestBigPartsAreNotCopied(t *testing.T) {
	send, receive := streamPair(t)
	payload := make([]byte, 1<<20)
	var before, after runtime.MemStats
	done := make(chan error, 1)
	go func() { done <- drain(receive) }()
	require.NoError(t, send.Send(payload))
	runtime.ReadMemStats(&before)
	for range 200 {
		require.NoError(t, send.Send(payload))
	}
	require.NoError(t, send.CloseSend())
	require.NoError(t, <-done)
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(8<<20))
}

func BenchmarkStream(b *testing.B) {
	for name, size := range map[string]int{"100B": 100, "8KiB": 8 << 10, "128KiB": 128 << 10} {
		b.Run(name, func(b *testing.B) {
			send, receive := streamPair(b)
			f := &walFrame{wal: make([]byte, size)}
			done := make(chan error, 1)
			go func() { done <- drain(receive) }()
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if err := send.Send(f.header[:], f.wal); err != nil {
					b.Fatal(err)
				}
			}
			if err := send.CloseSend(); err != nil {
				b.Fatal(err)
			}
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		})
	}
}
