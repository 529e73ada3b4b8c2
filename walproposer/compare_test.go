package walproposer

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
)

// The comparison refuses a difference wherever it lies, and answers that do not
// cover what was asked for.
func TestDifferenceFarBackIsRefused(t *testing.T) {
	r := wal.Range{Start: 1<<20 + 77, End: 6<<20 + 5}
	theirs := plainDigests(r, randomBytes(int(r.Len()), 3))
	s := &session{peers: &peers{conninfos: []string{"host=a port=1"}}, proof: newProver(r.Start)}
	request := &consensus.ProofRequest{DonorNode: 1, Upto: r.End}
	require.NoError(t, s.compare(request, theirs, theirs))
	for i := range theirs {
		own := append([]digest{}, theirs...)
		own[i].sum[5] ^= 1
		refusal := judge(s.compare(request, own, theirs))
		require.NotNil(t, refusal)
		require.Contains(t, refusal.Error(), own[i].Start.String(), "the refusal names the block")
		require.NotEmpty(t, refusal.Hint)
	}
	require.Error(t, s.compare(request, theirs, theirs[:len(theirs)-1]))
	require.Error(t, s.compare(request, theirs, theirs[1:]))
	require.Error(t, s.compare(request, theirs, nil))
}

// Bytes that only an outvoted member has will be cut: without them the timeline
// is empty, and is streamed from its first segment's beginning.
func TestTheBestVoterTellsWhetherATimelineIsEmpty(t *testing.T) {
	at := func(flush wal.LSN) replication.Answer {
		return replication.Answer{Status: replication.Status{Start: 0x100, FlushLSN: flush}}
	}
	v := view{all: []replication.Answer{at(0x900), at(0x100), {Err: errNoTimeline}}}
	v.Proof = consensus.ProofRequest{Donor: 1, Upto: 0x100}
	require.True(t, isEmpty(v))
	v.Proof = consensus.ProofRequest{Donor: 0, Upto: 0x900}
	require.False(t, isEmpty(v))
}
