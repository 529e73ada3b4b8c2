package pushwal

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/alloctest"
)

// walhavenCodec is what two of our programs speak.
var walhavenCodec = Codec{Version: Version3, Walhaven: true}.Negotiated(Revision)

func TestOptionsRoundTrip(t *testing.T) {
	roundTripEqual(t, optionProposerGreeting, Codec.AppendProposerGreeting, Codec.DecodeProposerGreeting)
	roundTripEqual(t, optionAcceptorGreeting, Codec.AppendAcceptorGreeting, Codec.DecodeAcceptorGreeting)
	roundTripEqual(t, optionVoteResponse, Codec.AppendVoteResponse, Codec.DecodeVoteResponse)
	roundTripEqual(t, optionProposed, Codec.AppendVoteResponse, Codec.DecodeVoteResponse)
	roundTripEqual(t, optionRequest, Codec.AppendConfigurationRequest, Codec.DecodeConfigurationRequest)
	roundTripEqual(t, optionAccepted, Codec.AppendConfigurationResponse, Codec.DecodeConfigurationResponse)
	roundTripEqual(t, optionWish, Codec.AppendMembershipRequest, Codec.DecodeMembershipRequest)
	replaced := AcceptorGreeting{NodeID: 2, Config: optionReplaced, Options: &AcceptorOptions{Walhaven: Revision}}
	roundTripEqual(t, replaced, Codec.AppendAcceptorGreeting, Codec.DecodeAcceptorGreeting)
	roundTripEqual(t, optionElected, Codec.AppendProposerElected, Codec.DecodeProposerElected)
	roundTripEqual(t, optionAppend, appendWhole, Codec.DecodeAppendRequest)
	roundTripEqual(t, optionResponse, Codec.AppendAppendResponse, Codec.DecodeAppendResponse)
}

func roundTripEqual[M any](t *testing.T, want M, encode func(Codec, []byte, *M) []byte, decode func(Codec, []byte, *M) error) {
	t.Helper()
	var got M
	require.NoError(t, decode(walhavenCodec, encode(walhavenCodec, nil, &want), &got))
	require.Equal(t, want, got)
}

// TestNeonNeverSeesOptions: without the negotiation, bytes are Neon's alone,
// whatever the message holds.
func TestNeonNeverSeesOptions(t *testing.T) {
	for _, neon := range []Codec{{Version: Version3}, {Version: Version2}, {Version: Version2, Walhaven: true}} {
		var m AcceptorGreeting
		require.NoError(t, neon.DecodeAcceptorGreeting(neon.AppendAcceptorGreeting(nil, &optionAcceptorGreeting), &m))
		require.Nil(t, m.Options)
		var v VoteResponse
		require.NoError(t, neon.DecodeVoteResponse(neon.AppendVoteResponse(nil, &optionVoteResponse), &v))
		require.Zero(t, v.TLIHistory.Last)
	}
}

// TestStrictness: an acceptor skips what it does not know behind a message, a
// proposer refuses it.
func TestStrictness(t *testing.T) {
	neon := Codec{Version: Version3}
	tail := walhavenCodec.AppendProposerGreeting(nil, &optionProposerGreeting)
	require.NoError(t, neon.DecodeProposerGreeting(tail, new(ProposerGreeting)))
	tail = walhavenCodec.AppendAcceptorGreeting(nil, &optionAcceptorGreeting)
	require.ErrorIs(t, neon.DecodeAcceptorGreeting(tail, new(AcceptorGreeting)), ErrMalformed)

	// A Neon acceptor answers our request for options without any.
	var m AcceptorGreeting
	require.NoError(t, walhavenCodec.DecodeAcceptorGreeting(neon.AppendAcceptorGreeting(nil, &optionAcceptorGreeting), &m))
	require.Nil(t, m.Options)
}

func TestUnknownOptionsAreSkipped(t *testing.T) {
	w := beginOptions(Codec{Version: Version3}.AppendVoteResponse(nil, &optionVoteResponse))
	w.bytes("from_the_future", []byte("x"))
	w.key(keyTLIHistory, 4)
	w.b = append(w.b, 0, 0, 0, 9)
	var v VoteResponse
	require.NoError(t, walhavenCodec.DecodeVoteResponse(w.b, &v))
	require.EqualValues(t, 9, v.TLIHistory.Last)
}

func TestRefusals(t *testing.T) {
	t.Run("more members than bytes", func(t *testing.T) {
		b := Codec{Version: Version3}.AppendAcceptorGreeting(nil, &AcceptorGreeting{NodeID: 1})
		copy(b[13:], []byte{0xff, 0xff, 0xff, 0xff})
		require.ErrorIs(t, walhavenCodec.DecodeAcceptorGreeting(b, new(AcceptorGreeting)), ErrMalformed)
	})
	t.Run("too many members", func(t *testing.T) {
		g := AcceptorGreeting{NodeID: 1}
		for i := range MaxMembers + 1 {
			g.Config.Members = append(g.Config.Members, Member{ID: NodeID(i)})
		}
		b := walhavenCodec.AppendAcceptorGreeting(nil, &g)
		require.ErrorIs(t, walhavenCodec.DecodeAcceptorGreeting(b, new(AcceptorGreeting)), ErrMalformed)
	})
	t.Run("node twice, generation without members", func(t *testing.T) {
		for _, config := range []Configuration{{Generation: 1}, {Generation: 1, Members: []Member{{ID: 1}, {ID: 1}}}} {
			b := walhavenCodec.AppendAcceptorGreeting(nil, &AcceptorGreeting{Config: config})
			require.ErrorIs(t, walhavenCodec.DecodeAcceptorGreeting(b, new(AcceptorGreeting)), ErrMalformed)
		}
	})
	t.Run("append range", func(t *testing.T) {
		for _, m := range []AppendRequest{{Begin: 8, End: 0}, {Begin: 0, End: MaxAppend + 1, WAL: make([]byte, MaxAppend+1)}} {
			require.ErrorIs(t, walhavenCodec.DecodeAppendRequest(appendWhole(walhavenCodec, nil, &m), new(AppendRequest)), ErrMalformed)
		}
		largest := AppendRequest{End: MaxAppend, WAL: make([]byte, MaxAppend)}
		require.NoError(t, walhavenCodec.DecodeAppendRequest(appendWhole(walhavenCodec, nil, &largest), new(AppendRequest)))
	})
	t.Run("history out of order", func(t *testing.T) {
		for _, h := range []TermHistory{{{2, 8}, {2, 16}}, {{2, 16}, {3, 8}}} {
			b := walhavenCodec.AppendProposerElected(nil, &ProposerElected{History: h})
			require.ErrorIs(t, walhavenCodec.DecodeProposerElected(b, new(ProposerElected)), ErrMalformed)
		}
	})
	t.Run("version", func(t *testing.T) {
		require.Error(t, Codec{Version: 4}.DecodeVoteRequest([]byte("v"), new(VoteRequest)))
	})
}

// TestCheckCRC is the guard of every byte from a shared ring: one flipped bit
// is refused, and without the check it would not be noticed.
func TestCheckCRC(t *testing.T) {
	b := appendWhole(walhavenCodec, nil, &optionAppend)
	var m AppendRequest
	require.NoError(t, walhavenCodec.DecodeAppendRequest(b, &m))
	require.NoError(t, m.CheckCRC())
	b[len(b)-1] ^= 1
	require.NoError(t, walhavenCodec.DecodeAppendRequest(b, &m))
	require.ErrorIs(t, m.CheckCRC(), ErrMalformed)
}

// TestNoAllocation covers the messages of the commit path.
func TestNoAllocation(t *testing.T) {
	for _, c := range []Codec{{Version: Version2}, {Version: Version3}, walhavenCodec} {
		request := c.AppendAppendRequestHeader(nil, &AppendRequest{Begin: 8, End: 16})
		request = append(request, make([]byte, 8)...)
		response := c.AppendAppendResponse(nil, &AppendResponse{})
		buf := make([]byte, 0, MaxAppendHeader)
		var q AppendRequest
		var r AppendResponse
		alloctest.None(t, 100, func() {
			if c.DecodeAppendRequest(request, &q) != nil || c.DecodeAppendResponse(response, &r) != nil {
				panic("refused")
			}
			c.AppendAppendRequestHeader(buf[:0], &q)
			c.AppendAppendResponse(buf[:0], &r)
		})
		require.LessOrEqual(t, len(request)-8, MaxAppendHeader)
	}
}

func TestIncarnationText(t *testing.T) {
	want := Incarnation{1, 2, 0xff}
	got, err := ParseIncarnation(want.String())
	require.NoError(t, err)
	require.Equal(t, want, got)
	_, err = ParseIncarnation("00")
	require.Error(t, err)
}
