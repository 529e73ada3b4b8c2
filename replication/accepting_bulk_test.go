package replication

import (
	"context"
	"net"
	"strings"
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

// In a bulk load one sync covers a MiB, and no more; nothing is acknowledged
// before the sync that covers it, however much more has come.
func TestBulkLoadIsSyncedAtEachMiB(t *testing.T) {
	const perSync = maxUnsynced / pushwal.MaxAppend
	data := someWAL(4 * maxUnsynced)
	n, p := bulkLoad(t, (len(data)+pushwal.MaxAppend-1)/pushwal.MaxAppend)
	n.log.taken()
	release := n.log.hold()
	defer release()
	before := n.log.syncs.Load()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for at := 0; at < len(data); at += pushwal.MaxAppend {
			p.append(1, testBase+wal.LSN(at), data[at:min(at+pushwal.MaxAppend, len(data))], 0)
		}
	}()
	answers := make(chan *pushwal.AppendResponse, 64)
	go func() {
		defer close(answers)
		for flush := wal.LSN(0); flush < testBase+wal.LSN(len(data)); {
			r := p.response()
			flush = r.FlushLSN
			answers <- r
		}
	}()
	waitFor(t, func() bool { return n.log.syncs.Load() > before })
	require.Equal(t, testBase+maxUnsynced, n.log.Positions().Write, "a sync covers a MiB though more has come")
	select {
	case r := <-answers:
		t.Fatalf("acknowledged up to %s before the first sync has ended", r.FlushLSN)
	case <-time.After(50 * time.Millisecond): // the negative needs a moment to be wrong in
	}
	release()
	var last wal.LSN
	for r := range answers {
		last = r.FlushLSN
	}
	require.Equal(t, testBase+wal.LSN(len(data)), last)
	<-sent

	var runs []int
	unsynced := 0
	for _, op := range n.log.taken() {
		switch {
		case strings.HasPrefix(op, "append"):
			unsynced++
		case op == "sync":
			runs = append(runs, unsynced)
			unsynced = 0
		}
	}
	require.GreaterOrEqual(t, len(runs), 4)
	require.Equal(t, []int{perSync, perSync, perSync}, runs[:3])
	for _, run := range runs {
		require.LessOrEqual(t, run, perSync)
	}
}
