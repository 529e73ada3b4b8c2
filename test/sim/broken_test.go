package sim

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBrokenProtections switches off one protection of the drivers at a time:
// within a bounded number of schedules the checks must notice.
func TestBrokenProtections(t *testing.T) {
	const within = 3000
	for name, tc := range map[string]struct {
		broken Break
		wipe   bool
		crash  int // instead of the seed's, 0 = that
	}{
		"vote not saved":              {Break{VoteNotSaved: true}, false, 0},
		"history before truncation":   {Break{HistoryBeforeTruncation: true}, false, 6},
		"acknowledged before sync":    {Break{AckBeforeSync: true}, false, 0},
		"elected without proof":       {Break{NoProof: true}, false, 0},
		"quorum of one":               {Break{QuorumOfOne: true}, false, 0},
		"wiped node votes":            {Break{JoiningCounts: true}, true, 0},
		"commit of older terms alone": {Break{OldTermCommit: true}, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := uint64(1); seed <= within; seed++ {
				c := Random(seed)
				c.Break, c.Wipe = tc.broken, tc.wipe
				if tc.crash > 0 {
					c.Crash = tc.crash
				}
				if _, err := Run(c); err != nil {
					var v *Violation
					require.ErrorAs(t, err, &v)
					t.Logf("noticed after %d schedules: %v", seed, err)
					return
				}
			}
			t.Fatalf("not noticed in %d schedules", within)
		})
	}
}

// TestSchedulesRepeat: the seed alone decides.
func TestSchedulesRepeat(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		first, err := Run(Random(seed))
		require.NoError(t, err)
		second, err := Run(Random(seed))
		require.NoError(t, err)
		require.Equal(t, first, second, "seed %d", seed)
	}
}
