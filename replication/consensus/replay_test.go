package consensus

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// captured is one message of testdata/captures.jsonl: what Neon's walproposer
// and a scripted acceptor said to each other. Append requests are cut to their
// header; WAL is how many bytes followed it.
type captured struct {
	Scenario string
	Version  pushwal.Version
	Node     pushwal.NodeID
	Conn     int
	Dir      string
	Hex      string
	WAL      int
}

// captures returns the messages by connection, in the order of the file.
func captures(t *testing.T) (conns [][]captured) {
	f, err := os.Open("testdata/captures.jsonl")
	require.NoError(t, err)
	defer f.Close()
	at := map[string]int{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var c captured
		require.NoError(t, json.Unmarshal(lines.Bytes(), &c))
		key := fmt.Sprint(c.Scenario, c.Node, c.Conn)
		if _, ok := at[key]; !ok {
			at[key] = len(conns)
			conns = append(conns, nil)
		}
		conns[at[key]] = append(conns[at[key]], c)
	}
	require.NoError(t, lines.Err())
	return conns
}

func (c captured) bytes(t *testing.T) []byte {
	b, err := hex.DecodeString(c.Hex)
	require.NoError(t, err)
	return append(b, make([]byte, c.WAL)...)
}

// TestReplayNeonsProposer feeds what Neon's proposer sent on each connection to
// an acceptor in the state that the scripted one had. The answers must be the
// scripted one's: byte for byte for greetings and votes; appends must be taken,
// and acknowledged to the same end, the commit position at least as far.
func TestReplayNeonsProposer(t *testing.T) {
	replayed := map[byte]int{}
	for _, conn := range captures(t) {
		first := conn[0]
		t.Run(fmt.Sprintf("%s/node%d/conn%d", first.Scenario, first.Node, first.Conn), func(t *testing.T) {
			replay(t, conn, replayed)
		})
	}
	for _, kind := range []byte{'g', 'v', 'e', 'a'} {
		require.Greater(t, replayed[kind], 50, "messages %q", kind)
	}
}

// recorded is what a connection shows of the acceptor.
type recorded struct {
	codec    pushwal.Codec
	greeting pushwal.AcceptorGreeting
	vote     *pushwal.VoteResponse
	appended *pushwal.AppendResponse // the last one
	elected  *pushwal.ProposerElected
}

func readRecorded(t *testing.T, conn []captured) (r recorded) {
	r.codec = pushwal.Codec{Version: conn[0].Version}
	for _, c := range conn {
		b := c.bytes(t)
		switch c.Dir + string(pushwal.Kind(b)) {
		case "a>pg":
			require.NoError(t, r.codec.DecodeAcceptorGreeting(b, &r.greeting))
		case "a>pv":
			r.vote = new(pushwal.VoteResponse)
			require.NoError(t, r.codec.DecodeVoteResponse(b, r.vote))
		case "a>pa":
			r.appended = new(pushwal.AppendResponse)
			require.NoError(t, r.codec.DecodeAppendResponse(b, r.appended))
		case "p>ae":
			r.elected = new(pushwal.ProposerElected)
			require.NoError(t, r.codec.DecodeProposerElected(b, r.elected))
		}
	}
	return r
}

// node returns an acceptor in the state that the recorded one began with.
func (r recorded) node(t *testing.T, hello *pushwal.ProposerGreeting) *testNode {
	s := State{
		ID: hello.TTID, SystemID: hello.SystemID, PGVersion: hello.PGVersion, SegmentSize: hello.SegmentSize,
		Configuration: r.greeting.Config, Term: r.greeting.Term,
	}
	var flush wal.LSN
	if r.vote != nil {
		flush = r.vote.FlushLSN
		s.History, s.TruncateLSN = r.vote.History, r.vote.TruncateLSN
		if len(s.History) > 0 {
			s.Start = s.History[0].LSN
			s.CommitLSN = s.TruncateLSN
		}
	}
	n := newTestNode(r.greeting.NodeID, s)
	if flush > 0 {
		n.log.data = make([]byte, flush-n.log.base)
		n.log.durable = len(n.log.data)
	} else if r.elected != nil {
		n.log.base = s.SegmentSize.SegmentStart(r.elected.StartStreamingAt)
	}
	n.a = NewAcceptor(n.id, s, Positions{Write: flush, FlushRecord: flush})
	require.NoError(t, n.a.Err())
	return n
}

func replay(t *testing.T, conn []captured, replayed map[byte]int) {
	r := readRecorded(t, conn)
	var hello pushwal.ProposerGreeting
	if r.greeting.NodeID == 0 || r.codec.DecodeProposerGreeting(conn[0].bytes(t), &hello) != nil {
		t.Skip("begins in the middle, or was not greeted")
	}
	n := r.node(t, &hello)
	var last *pushwal.AppendResponse
	for i, c := range conn {
		if c.Dir != "p>a" {
			continue
		}
		b := c.bytes(t)
		kind := pushwal.Kind(b)
		m := decodeProposer(t, r.codec, b)
		out, err := n.step(1, m)
		if kind == pushwal.KindVote && r.vote == nil { // the recording ends here, or a node of a stale generation refused
			if m.(*pushwal.VoteRequest).Generation != r.greeting.Config.Generation {
				require.ErrorIs(t, err, ErrConfiguration)
			}
			return
		}
		require.NoError(t, err, "message %d, %q", i, kind)
		replayed[kind]++
		out = append(out, n.sync()...)
		if kind == pushwal.KindVote && r.vote.Term > n.a.State().Term {
			t.Skip("the recorded acceptor's term rose in between")
		}
		for _, o := range out {
			if a, ok := o.Msg.(*pushwal.AppendResponse); ok {
				last = a
				continue
			}
			require.Equal(t, nextAnswer(t, conn[i:]), hex.EncodeToString(encodeAcceptor(r.codec, o.Msg)), "answer to message %d, %q", i, kind)
		}
		require.Equal(t, kind == pushwal.KindElected, len(out) == 0, "message %d, %q", i, kind)
	}
	if r.appended == nil {
		return
	}
	require.Equal(t, r.appended.Term, last.Term)
	require.Equal(t, r.appended.Generation, last.Generation)
	require.Equal(t, r.appended.FlushLSN, last.FlushLSN)
	require.GreaterOrEqual(t, last.CommitLSN, r.appended.CommitLSN)
}

func nextAnswer(t *testing.T, conn []captured) string {
	for _, c := range conn {
		if c.Dir == "a>p" {
			return c.Hex
		}
	}
	require.Fail(t, "no answer was recorded")
	return ""
}

func decodeProposer(t *testing.T, c pushwal.Codec, b []byte) pushwal.ProposerMessage {
	t.Helper()
	m, err := parseProposer(c, b)
	require.NoError(t, err)
	return m
}

// parseProposer decodes whatever message b is.
func parseProposer(c pushwal.Codec, b []byte) (pushwal.ProposerMessage, error) {
	switch pushwal.Kind(b) {
	case pushwal.KindGreeting:
		m := new(pushwal.ProposerGreeting)
		return m, c.DecodeProposerGreeting(b, m)
	case pushwal.KindVote:
		m := new(pushwal.VoteRequest)
		return m, c.DecodeVoteRequest(b, m)
	case pushwal.KindElected:
		m := new(pushwal.ProposerElected)
		return m, c.DecodeProposerElected(b, m)
	}
	m := new(pushwal.AppendRequest)
	return m, c.DecodeAppendRequest(b, m)
}

func encodeAcceptor(c pushwal.Codec, m pushwal.AcceptorMessage) []byte {
	switch m := m.(type) {
	case *pushwal.AcceptorGreeting:
		return c.AppendAcceptorGreeting(nil, m)
	case *pushwal.VoteResponse:
		return c.AppendVoteResponse(nil, m)
	case *pushwal.AppendResponse:
		return c.AppendAppendResponse(nil, m)
	}
	return nil
}
