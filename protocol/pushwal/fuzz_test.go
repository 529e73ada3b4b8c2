package pushwal

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
)

// Each target: decoding arbitrary bytes never panics, allocates no more than a
// small multiple of them, and what was decoded encodes to bytes that decode to
// the same again. seed bytes come from the recordings and from our own options.

func fuzz[M any](f *testing.F, dir, tag string, seeds []M,
	encode func(Codec, []byte, *M) []byte, decode func(Codec, []byte, *M) error,
) {
	for _, c := range captures(f) {
		if c.Dir == dir && c.Tag == tag && c.WALLen < 4096 {
			f.Add(uint8(c.Version), false, c.body(f))
		}
	}
	for i := range seeds {
		f.Add(uint8(Version3), true, encode(walhavenCodec, nil, &seeds[i]))
	}
	f.Fuzz(func(t *testing.T, version uint8, walhaven bool, b []byte) {
		c := Codec{Version: Version(version), Walhaven: walhaven, Revision: Revision}
		var m, again M
		if decode(c, b, &m) != nil {
			return
		}
		encoded := encode(c, nil, &m)
		require.NoError(t, decode(c, encoded, &again))
		require.Equal(t, m, again)
		require.Equal(t, encoded, encode(c, nil, &again))
	})
}

var (
	optionConfig = Configuration{
		Generation: 7,
		Members:    []Member{{ID: 1, Host: "a", Port: 1, Incarnation: Incarnation{1}}, {ID: 2, Host: "b", Port: 2, Incarnation: Incarnation{2}}},
		NewMembers: []Member{{ID: 2, Host: "b", Port: 2, Incarnation: Incarnation{2}}, {ID: 3, Host: "c", Port: 3, Incarnation: Incarnation{3}}},
	}
	optionHistory = wal.TimelineHistory{Last: 4, Ancestors: []wal.HistoryEntry{{TLI: 1, Switch: 0x1000}, {TLI: 3, Switch: 0x2000}}}

	optionProposerGreeting = ProposerGreeting{
		TTID: exampleTTID, PGVersion: 180000, SystemID: 9, SegmentSize: 1 << 20, TLI: 4, Instance: Instance{5},
		NodeID: 3, Name: "main", Start: 0x1000028, TLIHistory: optionHistory, Config: optionReplaced,
	}
	optionAcceptorGreeting = AcceptorGreeting{NodeID: 1, Config: optionConfig, Term: 9, Options: &AcceptorOptions{
		Walhaven: 1, Incarnation: Incarnation{1}, Joining: true, TLI: 4, LastRecordLSN: 0x5000,
	}}
	optionVoteResponse = VoteResponse{Generation: 7, Term: 9, VoteGiven: true, FlushLSN: 0x3000, History: exampleHistory, TLIHistory: optionHistory}
	// optionReplaced has node 2 twice: with the data directory that it had, and with
	// the one that takes its place.
	optionReplaced = Configuration{
		Generation: 8,
		Members:    []Member{{ID: 1, Host: "a", Port: 1, Incarnation: Incarnation{1}}, {ID: 2, Host: "b", Port: 2, Incarnation: Incarnation{2}}},
		NewMembers: []Member{{ID: 1, Host: "a", Port: 1, Incarnation: Incarnation{1}}, {ID: 2, Host: "b", Port: 2, Incarnation: Incarnation{22}}},
	}
	optionProposed = VoteResponse{Generation: 7, Term: 9, FlushLSN: 0x3000, History: exampleHistory, TLIHistory: optionHistory, Proposed: optionReplaced, ProposedTerm: 8}
	optionRequest  = ConfigurationRequest{Generation: 7, Term: 9, Config: optionReplaced}
	optionAccepted = ConfigurationResponse{Generation: 7, Term: 9, Accepted: 8, AcceptedTerm: 9}
	optionWish     = MembershipRequest{Config: Configuration{Generation: 7, Members: optionReplaced.NewMembers}}

	optionElected  = ProposerElected{Generation: 7, Term: 9, StartStreamingAt: 0x3000, History: exampleHistory, TLIHistory: optionHistory}
	optionAppend   = AppendRequest{Generation: 7, Term: 9, Begin: 0x3000, End: 0x3003, TLI: 4, CRC: Checksum([]byte("wal")), WAL: []byte("wal")}
	optionResponse = AppendResponse{Generation: 7, Term: 9, Pageserver: &PageserverFeedback{ReplyTime: 1, Corruption: true, Active: Active}}
)

func FuzzDecodeProposerGreeting(f *testing.F) {
	fuzz(f, "p>a", "g", []ProposerGreeting{optionProposerGreeting}, Codec.AppendProposerGreeting, Codec.DecodeProposerGreeting)
}

func FuzzDecodeAcceptorGreeting(f *testing.F) {
	fuzz(f, "a>p", "g", []AcceptorGreeting{optionAcceptorGreeting, {NodeID: 2, Config: optionReplaced, Options: &AcceptorOptions{Walhaven: Revision}}}, Codec.AppendAcceptorGreeting, Codec.DecodeAcceptorGreeting)
}

func FuzzDecodeVoteRequest(f *testing.F) {
	fuzz(f, "p>a", "v", []VoteRequest{{Generation: 7, Term: 9}}, Codec.AppendVoteRequest, Codec.DecodeVoteRequest)
}

func FuzzDecodeVoteResponse(f *testing.F) {
	fuzz(f, "a>p", "v", []VoteResponse{optionVoteResponse, optionProposed}, Codec.AppendVoteResponse, Codec.DecodeVoteResponse)
}

func FuzzDecodeProposerElected(f *testing.F) {
	fuzz(f, "p>a", "e", []ProposerElected{optionElected}, Codec.AppendProposerElected, Codec.DecodeProposerElected)
}

func FuzzDecodeAppendRequest(f *testing.F) {
	fuzz(f, "p>a", "a", []AppendRequest{optionAppend}, appendWhole, Codec.DecodeAppendRequest)
}

func FuzzDecodeAppendResponse(f *testing.F) {
	fuzz(f, "a>p", "a", []AppendResponse{optionResponse}, Codec.AppendAppendResponse, Codec.DecodeAppendResponse)
}

func FuzzDecodeConfigurationRequest(f *testing.F) {
	fuzz(f, "p>a", "c", []ConfigurationRequest{optionRequest}, Codec.AppendConfigurationRequest, Codec.DecodeConfigurationRequest)
}

func FuzzDecodeConfigurationResponse(f *testing.F) {
	fuzz(f, "a>p", "c", []ConfigurationResponse{optionAccepted}, Codec.AppendConfigurationResponse, Codec.DecodeConfigurationResponse)
}

func FuzzDecodeMembershipRequest(f *testing.F) {
	fuzz(f, "a>p", "m", []MembershipRequest{optionWish}, Codec.AppendMembershipRequest, Codec.DecodeMembershipRequest)
}

func FuzzDecodePageserverFeedback(f *testing.F) {
	f.Add(AppendPageserverFeedback(nil, &exampleFeedback))
	f.Add(AppendPageserverFeedback(nil, optionResponse.Pageserver))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m, again PageserverFeedback
		if DecodePageserverFeedback(b, &m) != nil {
			return
		}
		require.NoError(t, DecodePageserverFeedback(AppendPageserverFeedback(nil, &m), &again))
		require.Equal(t, m, again)
	})
}
