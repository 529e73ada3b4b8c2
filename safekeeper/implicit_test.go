package safekeeper_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/safekeeper"
	"github.com/walhaven/walhaven/wal"
)

// Neon's walproposer, which founds timelines by greeting them: its messages in
// both versions, without any option of ours.
func TestImplicitTimelinesForNeonsProposer(t *testing.T) {
	for _, version := range []pushwal.Version{pushwal.Version2, pushwal.Version3} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			o := builtOrigin(t, 1<<20)
			sk := startSafekeeper(t, 1, func(c *safekeeper.Config) { c.AllowImplicitTimelines = true })
			n := neonProposer{t: t, sk: sk, o: o, codec: pushwal.Codec{Version: version}}

			n.connect()
			vote := n.greetAndVote(5)
			require.True(t, vote.VoteGiven)
			require.Zero(t, vote.FlushLSN)
			n.end()
			sk.restart()

			// The vote is remembered although there is no WAL store yet.
			n.connect()
			require.False(t, n.greetAndVote(5).VoteGiven)
			n.elect(5)
			_, err := n.stream.Receive()
			require.Equal(t, "57P03", protocol.SQLState(err), "the founded timeline is another connection's: %v", err)
			n.end()

			n.connect()
			vote = n.greetAndVote(5)
			require.False(t, vote.VoteGiven, "the same term, as a reconnecting proposer is answered")
			require.Equal(t, wal.Term(5), vote.Term)
			n.elect(5)
			n.append(5, o.end())
			sk.waitLSN("commit_lsn", o.end())
			n.end()
			require.Equal(t, o.start.String(), sk.mustQuery("TIMELINE_STATUS")[0]["start_lsn"])
		})
	}
}

func TestImplicitTimelinesNeedBothSidesConsent(t *testing.T) {
	sk := startSafekeeper(t, 1, func(c *safekeeper.Config) { c.AllowImplicitTimelines = true })
	_, err := replication.Dial(t.Context(), sk.conninfo(), "START_WAL_PUSH (proto_version '3', allow_timeline_creation 'false')", sk.options())
	require.Equal(t, "42704", protocol.SQLState(err))
}

type neonProposer struct {
	t      *testing.T
	sk     *node
	o      *origin
	codec  pushwal.Codec
	stream *protocol.CopyStream
	cancel context.CancelFunc
}

func (n *neonProposer) connect() {
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := replication.Dial(ctx, n.sk.conninfo(),
		fmt.Sprintf("START_WAL_PUSH (proto_version '%d', allow_timeline_creation 'true')", n.codec.Version), n.sk.options())
	require.NoError(n.t, err)
	n.stream, n.cancel = stream, cancel
}

func (n *neonProposer) end() {
	n.cancel()
	_ = n.stream.Close()
}

func (n *neonProposer) send(parts ...[]byte) {
	require.NoError(n.t, n.stream.Send(parts...))
	require.NoError(n.t, n.stream.Flush())
}

func (n *neonProposer) greetAndVote(term wal.Term) (vote pushwal.VoteResponse) {
	n.send(n.codec.AppendProposerGreeting(nil, &pushwal.ProposerGreeting{
		TTID: testID, PGVersion: n.o.version, SystemID: n.o.systemID, SegmentSize: n.o.segment, TLI: 1,
	}))
	msg, err := n.stream.Receive()
	require.NoError(n.t, err)
	var hello pushwal.AcceptorGreeting
	require.NoError(n.t, n.codec.DecodeAcceptorGreeting(msg, &hello))
	require.Equal(n.t, pushwal.NodeID(1), hello.NodeID)
	n.send(n.codec.AppendVoteRequest(nil, &pushwal.VoteRequest{Term: term}))
	msg, err = n.stream.Receive()
	require.NoError(n.t, err)
	require.NoError(n.t, n.codec.DecodeVoteResponse(msg, &vote))
	return vote
}

func (n *neonProposer) elect(term wal.Term) {
	n.send(n.codec.AppendProposerElected(nil, &pushwal.ProposerElected{
		Term: term, StartStreamingAt: n.o.start, History: pushwal.TermHistory{{Term: term, LSN: n.o.start}},
	}))
}

func (n *neonProposer) append(term wal.Term, end wal.LSN) {
	for pos := n.o.start; ; {
		next := min(pos+pushwal.MaxAppend, end)
		data := n.o.bytes(wal.Range{Start: pos, End: next})
		m := pushwal.AppendRequest{Term: term, Begin: pos, End: next, CommitLSN: end, TruncateLSN: n.o.start, WAL: data}
		n.send(n.codec.AppendAppendRequestHeader(nil, &m), data)
		if pos = next; len(data) == 0 {
			return
		}
	}
}
