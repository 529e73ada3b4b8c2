package sim

import (
	"flag"
	"testing"

	"github.com/stretchr/testify/require"
)

var memberSeeds = flag.Int("member-seeds", 500, "number of schedules in which operators change the membership")

// TestMembershipSchedules: two operators at once want other members, of proposers
// that come and go; nodes lose their data directories, join, and are replaced.
func TestMembershipSchedules(t *testing.T) {
	total, ran := runFrom(t, *memberSeeds, RandomMembers, func(*Config) {})
	if ran < 500 {
		return
	}
	for _, what := range []string{
		"membership: came into force", "membership: generations in force", "membership: learned from a peer", "membership: operator",
		"membership: operator killed", "node: joins", "node: joins later than the timeline began", "node: wiped", "to node: configuration", "to proposer: configuration accepted",
		"proposer: commit", "proposer: elected",
	} {
		require.NotZero(t, total[what], "never met: %s", what)
	}
}

// TestMembershipOnStore runs the same on the real log.
func TestMembershipOnStore(t *testing.T) {
	runFrom(t, *stores/2, RandomMembers, func(c *Config) { c.Store = true })
}
