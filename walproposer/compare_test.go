package walproposer

import (
	"testing"

	"github.com/stretchr/testify/require"

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
