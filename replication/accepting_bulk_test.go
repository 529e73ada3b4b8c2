package replication

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/ownthread"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// bulkLoad is a session as a safekeeper has it that takes so many frames, of which
// always another one has come, but at the end.
func bulkLoad(t *testing.T, frames int) (n *node, p *proposer) {
	t.Helper()
	ownthread.Allow(1)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	server, err := ln.Accept()
	require.NoError(t, err)
	require.NoError(t, server.(*net.TCPConn).SetReadBuffer(4*longest))
	stream := protocol.NewCopyStream(context.Background(), server, protocol.StreamOptions{Server: true})
	stream.OwnThread()

	n = newNode(t)
	left := frames
	n.log.appended = func() {
		left--
		for deadline := time.Now().Add(patience); left >= 3 && stream.Arrived() < longest && time.Now().Before(deadline); {
			<-time.After(time.Millisecond)
		}
	}
	p = &proposer{t: t, codec: ours, conn: client, served: make(chan error, 1)}
	p.stream = protocol.NewCopyStream(context.Background(), client, protocol.StreamOptions{})
	go func() {
		p.served <- n.Serve(context.Background(), stream, PushOptions{Version: ours.Version, Walhaven: ours.Walhaven, Revision: ours.Revision})
	}()
	t.Cleanup(func() {
		_ = p.stream.Close()
		<-p.served
		_ = stream.Close()
	})
	p.lead(1)
	return n, p
}

// loading sends so much WAL as a bulk load to a node whose syncs are held, and returns
// once the node takes no more: what it answers, until it has acknowledged all or the
// connection ends, and how to let the syncs go.
func loading(t *testing.T, n *node, p *proposer, data []byte) (answers chan *pushwal.AppendResponse, release func()) {
	t.Helper()
	release = n.log.hold()
	t.Cleanup(release)
	before := n.log.syncs.Load()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for at := 0; at < len(data); at += pushwal.MaxAppend {
			header, part := p.frame(1, testBase+wal.LSN(at), data[at:min(at+pushwal.MaxAppend, len(data))], 0)
			if p.stream.Send(header, part) != nil || p.stream.Flush() != nil {
				return // The session has ended.
			}
		}
	}()
	answers = make(chan *pushwal.AppendResponse, 1024)
	go func() {
		defer close(answers)
		for flush := wal.LSN(0); flush < testBase+wal.LSN(len(data)); {
			payload, err := p.stream.Receive()
			var r pushwal.AppendResponse
			if err != nil || p.codec.DecodeAppendResponse(payload, &r) != nil {
				return
			}
			flush = r.FlushLSN
			answers <- &r
		}
		<-sent
	}()
	waitFor(t, func() bool {
		return n.log.Positions().Write >= testBase+maxUnsynced+maxAhead && n.log.syncs.Load() > before
	})
	require.Equal(t, before+1, n.log.syncs.Load(), "one sync at a time")
	return answers, release
}

// In a bulk load a sync begins at each MiB, or when the one before has ended, while
// more is taken, but not without bounds; nothing is acknowledged before the sync that
// covers it.
func TestBulkLoadIsTakenWhileItIsSynced(t *testing.T) {
	data := someWAL(maxAhead + 4*maxUnsynced)
	n, p := bulkLoad(t, (len(data)+pushwal.MaxAppend-1)/pushwal.MaxAppend)
	answers, release := loading(t, n, p, data)
	select {
	case r := <-answers:
		t.Fatalf("acknowledged up to %s before the first sync has ended", r.FlushLSN)
	case <-time.After(50 * time.Millisecond): // the negative needs a moment to be wrong in
	}
	require.Equal(t, testBase+maxUnsynced+maxAhead, n.log.Positions().Write, "no more is taken before the sync has ended")
	release()
	var last wal.LSN
	for r := range answers {
		require.LessOrEqual(t, r.FlushLSN, n.log.Positions().Flush)
		last = r.FlushLSN
	}
	require.Equal(t, testBase+wal.LSN(len(data)), last)
}

// A sync that fails while more is taken ends the session, which acknowledges nothing.
func TestFailedSyncEndsABulkLoad(t *testing.T) {
	data := someWAL(maxAhead + 4*maxUnsynced)
	n, p := bulkLoad(t, (len(data)+pushwal.MaxAppend-1)/pushwal.MaxAppend)
	answers, release := loading(t, n, p, data)
	broken := errors.New("the disk is broken")
	n.log.syncErr.Store(&broken)
	release()
	select {
	case err := <-p.served:
		p.served <- err // for the end of the test
		require.ErrorIs(t, err, broken)
	case r := <-answers:
		t.Fatalf("acknowledged up to %s", r.FlushLSN)
	case <-time.After(patience):
		t.Fatal("the session does not end")
	}
}
