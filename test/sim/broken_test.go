package sim

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBrokenProtections switches off one protection of the drivers at a time:
// within a few hundred schedules the checks must notice, in CI and in whatever order
// changes to the simulator bring the same seeds.
func TestBrokenProtections(t *testing.T) {
	const within = 300
	for name, tc := range map[string]struct {
		broken Break
		wipe   bool
		store  bool
	}{
		"vote not saved":                {Break{VoteNotSaved: true}, false, false},
		"history before truncation":     {Break{HistoryBeforeTruncation: true}, false, false},
		"acknowledged before sync":      {Break{AckBeforeSync: true}, false, false},
		"acknowledged during a sync":    {Break{AckDuringSync: true}, false, false},
		"elected without proof":         {Break{NoProof: true}, false, false},
		"quorum of one":                 {Break{QuorumOfOne: true}, false, false},
		"wiped node votes":              {Break{JoiningCounts: true}, true, false},
		"commit of older terms alone":   {Break{OldTermCommit: true}, false, false},
		"donor in any term":             {Break{AnyTermRead: true}, false, false},
		"learned what is not committed": {Break{LearnsFlushed: true}, false, false},
		"removed what others lack":      {Break{RemovesFlushed: true}, false, false},
		"segments not on disk":          {Break{SegmentsUnsynced: true}, false, true},
		"timeline made in place":        {Break{CreatedInPlace: true}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := uint64(1); seed <= within; seed++ {
				c := Random(seed)
				c.Break, c.Wipe, c.Store = tc.broken, tc.wipe, tc.store
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

// TestShrink makes a failing schedule smaller, and what comes out fails when it is
// run from its text.
func TestShrink(t *testing.T) {
	var c Config
	for seed := uint64(1); ; seed++ {
		c = Random(seed)
		c.Break = Break{VoteNotSaved: true}
		if _, err := Run(c); err != nil {
			break
		}
	}
	small, failure := Shrink(c, 150)
	require.Error(t, failure)
	require.Less(t, small.Steps, c.Steps)
	var again Config
	require.NoError(t, json.Unmarshal([]byte(small.Text()), &again))
	_, err := Run(again)
	require.EqualError(t, err, failure.Error())
	t.Logf("seed %d with %d steps shrunk to seed %d with %d: %v", c.Seed, c.Steps, small.Seed, small.Steps, failure)

	sound, failure := Shrink(Random(1), 10)
	require.NoError(t, failure, "nothing to shrink")
	require.Equal(t, Random(1), sound)
}
