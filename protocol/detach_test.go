package protocol_test

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/ownthread"
	"github.com/walhaven/walhaven/protocol"
)

var errElsewhere = errors.New("somebody else goes on with it")

// What a stream had read of a message goes with its connection, so that not a byte
// is lost or read twice.
func TestDetachedInTheMiddleOfAMessage(t *testing.T) {
	ownthread.Allow(1)
	a, b := tcpPair(t)
	s := protocol.NewCopyStream(context.Background(), a, protocol.StreamOptions{})
	defer s.Close()
	require.False(t, s.Detachable(), "Go's poller has it")
	s.OwnThread()
	require.True(t, s.Detachable())
	frame := func(text string) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{'d'}, uint32(4+len(text))), text...)
	}
	whole, cut := frame("first"), frame("second")
	_, err := b.Write(append(append([]byte{}, whole...), cut[:7]...))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return s.Arrived() == len(whole)+7 }, time.Minute, time.Millisecond)
	got, err := s.Receive()
	require.NoError(t, err)
	require.Equal(t, "first", string(got))
	received := make(chan error, 1)
	go func() {
		_, err := s.Receive()
		received <- err
	}()
	s.Abort(errElsewhere)
	require.ErrorIs(t, <-received, errElsewhere)
	f, pending, err := s.Detach()
	require.NoError(t, err)
	require.Len(t, pending, 7)
	_ = s.Close() // It is not the connection's end any more.

	c, err := net.FileConn(f)
	require.NoError(t, errors.Join(err, f.Close()))
	next := protocol.NewCopyStream(context.Background(), c, protocol.StreamOptions{Pending: pending})
	defer next.Close()
	_, err = b.Write(cut[7:])
	require.NoError(t, err)
	got, err = next.Receive()
	require.NoError(t, err)
	require.Equal(t, "second", string(got))
	require.NoError(t, next.Send([]byte("third")))
	require.NoError(t, next.Flush())
	peer := protocol.NewCopyStream(context.Background(), b, protocol.StreamOptions{Server: true})
	got, err = peer.Receive()
	require.NoError(t, err)
	require.Equal(t, "third", string(got))
}

// A connection of which something of ours waits to be written, or that has ended,
// is nobody else's to go on with.
func TestNotDetachable(t *testing.T) {
	for name, spoil := range map[string]func(*protocol.CopyStream, net.Conn) error{
		"a message is kept": func(s *protocol.CopyStream, _ net.Conn) error { return s.Send([]byte("x")) },
		"we have ended":     func(s *protocol.CopyStream, _ net.Conn) error { return s.CloseSend() },
		"the peer has ended": func(s *protocol.CopyStream, peer net.Conn) error {
			_ = peer.Close()
			_, err := s.Receive()
			if errors.Is(err, protocol.ErrPeerClosed) {
				return nil
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			ownthread.Allow(1)
			a, b := tcpPair(t)
			s := protocol.NewCopyStream(context.Background(), a, protocol.StreamOptions{})
			defer s.Close()
			s.OwnThread()
			require.NoError(t, spoil(s, b))
			s.Abort(errElsewhere)
			_, _, err := s.Detach()
			require.ErrorContains(t, err, "cannot be handed on")
		})
	}
}
