package walproposer_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/headless"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/walproposer"
)

// between listens on a port of its own and passes connections on to a safekeeper
// whose answers take so long to begin; to "" none is passed on, and nothing ever
// answers, as behind a kernel whose process is stopped.
func between(t *testing.T, to string, late time.Duration) (address string) {
	return relay(t, to, func(ctx context.Context, client io.Writer, server io.Reader) {
		select {
		case <-ctx.Done():
		case <-time.After(late):
			_, _ = io.Copy(client, server)
		}
	})
}

// relay is between with what passes on the answers.
func relay(t *testing.T, to string, answers func(ctx context.Context, client io.Writer, server io.Reader)) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { passOn(ctx, c, to, answers) })
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = ln.Close()
		serving.Wait()
	})
	return ln.Addr().String()
}

func passOn(ctx context.Context, client net.Conn, to string, answers func(ctx context.Context, client io.Writer, server io.Reader)) {
	var both sync.WaitGroup
	defer both.Wait()
	stop := context.AfterFunc(ctx, func() { _ = client.Close() })
	defer stop()
	defer client.Close() //nolint:errcheck // Nothing is left to be said.
	if to == "" {
		_, _ = io.Copy(io.Discard, client)
		return
	}
	server, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	both.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	})
	defer server.Close() //nolint:errcheck // As above.
	answers(ctx, client, server)
}

// A safekeeper that takes connections and says nothing is not waited for: neither
// by a look nor by what rests on one.
func TestHangingSafekeeperIsNotWaitedFor(t *testing.T) {
	w := newWorld(t, computetest.Options{})
	addresses := append([]string{between(t, "", 0)}, w.addresses()[1:]...)
	o := headless.Options{ID: w.id, Dial: replication.DialOptions{Params: map[string]string{"application_name": "test"}}}
	for _, a := range addresses {
		host, port, err := net.SplitHostPort(a)
		require.NoError(t, err)
		o.Peers = append(o.Peers, headless.Peer{Name: a, Conninfo: "host=" + host + " port=" + port})
	}
	// On a machine so slow that the others take seconds it is not late any more.
	require.Eventually(t, func() bool {
		v, err := headless.Look(w.ctx(), o)
		require.NoError(t, err)
		require.True(t, v.Quorum)
		return errors.Is(v.Answers[0].Err, replication.ErrLate)
	}, patience, 10*time.Millisecond)

	_, err := walproposer.Sync(w.ctx(), walproposer.SyncOptions{
		Safekeepers: addresses, Tenant: w.id.Tenant, Timeline: w.id.Timeline, Logger: testLogger(t),
	})
	require.NoError(t, err)
	options := w.options()
	options.Safekeepers, options.Timeline = addresses, "main"
	p := w.propose(options)
	p.streams()
	w.demandQuorum()
	require.NoError(t, w.insert(1))
}

// A member that is slow to answer and in a higher term is late in the first look,
// and ends the campaign that follows from it. The next look waits for it, so that
// the next campaign is above its term.
func TestSlowMemberOfAHigherTermIsWaitedFor(t *testing.T) {
	const term = 1000
	w := newWorld(t, computetest.Options{})
	w.raiseTerm(w.keepers[2], term)
	o := w.options()
	o.Safekeepers[2] = between(t, w.keepers[2].addr, time.Second)
	p := w.propose(o)
	require.Eventually(t, func() bool {
		s := p.Status()
		return s.State == "streaming" && len(s.Term) == len(fmt.Sprint(term))
	}, patience, 10*time.Millisecond)
	w.demandQuorum()
	require.NoError(t, w.insert(1))
	for _, s := range w.statusesOf(0, 1) {
		require.Greater(t, s.Term, wal.Term(term))
	}
}

// raiseTerm asks one safekeeper for its vote, and no more.
func (w *world) raiseTerm(k *keeper, term wal.Term) {
	w.t.Helper()
	now := w.statuses()[0]
	stream, err := replication.Dial(w.ctx(), k.conninfo(), "START_WAL_PUSH (proto_version '3', walhaven '2', allow_timeline_creation 'false')",
		replication.DialOptions{MaxFrame: pushwal.MaxMessage, Params: map[string]string{
			"options": fmt.Sprintf("-c tenant_id=%s -c timeline_id=%s", w.id.Tenant, w.id.Timeline),
		}})
	require.NoError(w.t, err)
	defer stream.Close() //nolint:errcheck // It answered.
	codec := pushwal.Codec{Version: pushwal.Version3, Walhaven: true}
	say := func(m []byte) []byte {
		require.NoError(w.t, stream.Send(m))
		require.NoError(w.t, stream.Flush())
		answer, err := stream.Receive()
		require.NoError(w.t, err)
		return answer
	}
	say(codec.AppendProposerGreeting(nil, &pushwal.ProposerGreeting{
		TTID: w.id, PGVersion: now.PGVersion, SystemID: now.SystemID, SegmentSize: now.SegmentSize, TLI: 1, Instance: pushwal.Instance{7},
	}))
	var vote pushwal.VoteResponse
	require.NoError(w.t, codec.DecodeVoteResponse(say(codec.AppendVoteRequest(nil, &pushwal.VoteRequest{Generation: 1, Term: term})), &vote))
	require.True(w.t, vote.VoteGiven)
}
