package protocol_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/ownthread"
	"github.com/walhaven/walhaven/protocol"
)

// TrySend never waits: a message that the connection has no room for goes in
// part, the rest with Flush, and none is lost or cut meanwhile.
func TestTrySendWaitsForNothing(t *testing.T) {
	ownthread.Allow(1)
	a, b := tcpPair(t)
	s := protocol.NewCopyStream(context.Background(), a, protocol.StreamOptions{})
	defer s.Close()
	taken, _ := s.TrySend([]byte("x"))
	require.False(t, taken, "by a connection that Go's poller has")
	s.OwnThread()
	peer := protocol.NewCopyStream(context.Background(), b, protocol.StreamOptions{Server: true})
	defer peer.Close()

	message := func(n uint32) []byte {
		return append(binary.BigEndian.AppendUint32(nil, n), bytes.Repeat([]byte{byte(n)}, 30000)...)
	}
	n := uint32(0)
	for written := true; written; n++ {
		m := message(n)
		var taken bool
		taken, written = s.TrySend(m[:4], m[4:])
		require.True(t, taken)
	}
	taken, _ = s.TrySend(message(n))
	require.False(t, taken, "before the rest of the last one")
	flushed := make(chan error, 1)
	go func() { flushed <- s.Flush() }()
	for i := range n {
		got, err := peer.Receive()
		require.NoError(t, err)
		require.True(t, bytes.Equal(message(i), got), i)
	}
	require.NoError(t, <-flushed)
	taken, written := s.TrySend(message(n))
	require.True(t, taken && written)
	taken, _ = s.TrySend(make([]byte, 1<<20))
	require.False(t, taken, "what is longer than the buffer")
	require.NoError(t, s.CloseSend())
	taken, _ = s.TrySend(message(n))
	require.False(t, taken, "behind the end")
}

// What has come and was not received is counted, in memory and in the kernel.
func TestArrived(t *testing.T) {
	ownthread.Allow(1)
	a, b := tcpPair(t)
	s := protocol.NewCopyStream(context.Background(), a, protocol.StreamOptions{})
	defer s.Close()
	s.OwnThread()
	peer := protocol.NewCopyStream(context.Background(), b, protocol.StreamOptions{Server: true})
	defer peer.Close()
	require.Zero(t, s.Arrived())
	const frame = 5 + 1000
	for range 3 {
		require.NoError(t, peer.Send(make([]byte, 1000)))
		require.NoError(t, peer.Flush())
	}
	require.Eventually(t, func() bool { return s.Arrived() == 3*frame }, time.Minute, time.Millisecond)
	for left := 2; left >= 0; left-- {
		_, err := s.Receive()
		require.NoError(t, err)
		require.Equal(t, left*frame, s.Arrived())
	}
}

// What is wrong with the connection is said by Flush.
func TestTrySendLeavesErrorsToFlush(t *testing.T) {
	ownthread.Allow(1)
	a, b := tcpPair(t)
	s := protocol.NewCopyStream(context.Background(), a, protocol.StreamOptions{})
	defer s.Close()
	s.OwnThread()
	require.NoError(t, b.Close())
	for taken := true; taken; {
		taken, _ = s.TrySend([]byte("x"))
	}
	require.Error(t, s.Flush())
}
