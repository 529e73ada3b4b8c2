package walproposer

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
)

// TestNewestMember: who tells a node that lost the timeline what the members are.
func TestNewestMember(t *testing.T) {
	answer := func(g pushwal.Generation) (a replication.Answer) {
		a.Configuration.Generation = g
		return a
	}
	failed, joining := answer(9), answer(9)
	failed.Err, joining.Joining = errNoTimeline, true
	for name, tc := range map[string]struct {
		all  []replication.Answer
		want pushwal.Generation
	}{
		"all know it":          {[]replication.Answer{answer(3), answer(3)}, 3},
		"one missed it":        {[]replication.Answer{answer(2), answer(3)}, 3},
		"newer than it":        {[]replication.Answer{answer(3), answer(4)}, 4},
		"all that answer do":   {[]replication.Answer{answer(2), failed}, 0},
		"who is no member yet": {[]replication.Answer{joining, failed, answer(3)}, 3},
	} {
		a, ok := newestMember(tc.all, 3)
		require.Equal(t, tc.want != 0, ok, name)
		require.Equal(t, tc.want, a.Configuration.Generation, name)
	}
}
