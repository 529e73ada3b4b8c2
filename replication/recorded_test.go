package replication

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
)

// recording returns the messages that Neon's walproposer sent in one of the
// recorded sessions up to its first WAL, which is not in the recording.
func recording(t *testing.T, scenario string) (messages [][]byte) {
	f, err := os.Open("../protocol/pushwal/testdata/captures.jsonl")
	require.NoError(t, err)
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var m struct {
			Scenario, Dir, Hex string
			WALLen             int `json:"wal_len"`
		}
		require.NoError(t, json.Unmarshal(lines.Bytes(), &m))
		if m.Scenario != scenario || m.Dir != "p>a" {
			continue
		}
		if m.WALLen > 0 {
			break
		}
		b, err := hex.DecodeString(m.Hex)
		require.NoError(t, err)
		messages = append(messages, b)
	}
	return messages
}

// TestRecordedProposer plays what Neon's walproposer sent to a node without a
// membership, and reads the answers as strictly as it does.
func TestRecordedProposer(t *testing.T) {
	for _, version := range []pushwal.Version{pushwal.Version2, pushwal.Version3} {
		t.Run(fmt.Sprintf("v%d", version), func(t *testing.T) {
			codec := pushwal.Codec{Version: version}
			messages := recording(t, fmt.Sprintf("append-long-v%d", version))
			require.GreaterOrEqual(t, len(messages), 3, "greeting, vote, elected")
			var greeting pushwal.ProposerGreeting
			require.NoError(t, codec.DecodeProposerGreeting(messages[0], &greeting))
			var elected pushwal.ProposerElected
			require.NoError(t, codec.DecodeProposerElected(messages[2], &elected))

			n := foundNode(t, consensus.State{
				ID: greeting.TTID, SystemID: greeting.SystemID, PGVersion: greeting.PGVersion, SegmentSize: greeting.SegmentSize,
				Start: elected.StartStreamingAt, Incarnation: pushwal.Incarnation{1}, TLIHistory: wal.TimelineHistory{Last: 1},
			})
			p := n.connect(t, codec)
			p.send(messages[0])
			var g pushwal.AcceptorGreeting
			require.NoError(t, codec.DecodeAcceptorGreeting(p.receive(), &g))
			p.send(messages[1])
			require.True(t, p.vote().VoteGiven)
			p.send(messages[2])
			p.send(codec.AppendAppendRequestHeader(nil, &pushwal.AppendRequest{
				Term: elected.Term, Begin: elected.StartStreamingAt, End: elected.StartStreamingAt,
			}))
			r := p.response()
			require.Equal(t, elected.Term, r.Term)
			require.Equal(t, elected.StartStreamingAt, r.FlushLSN)
			require.Equal(t, elected.History, n.Status().History)
		})
	}
}
