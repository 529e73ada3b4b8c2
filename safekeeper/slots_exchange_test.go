package safekeeper_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A receiver may move to another safekeeper and finds its slot there.
func TestSlotIsOnEveryMember(t *testing.T) {
	o := builtOrigin(t, 2<<20)
	members := []*node{startSafekeeper(t, 1, nil), startSafekeeper(t, 2, nil), startSafekeeper(t, 3, nil)}
	o.found(t, members)
	names := func(n *node) (out []string) {
		for _, row := range n.mustQuery("SHOW SLOTS") {
			out = append(out, row["slot_name"]+" "+row["slot_id"])
		}
		return out
	}
	members[0].mustQuery("CREATE_REPLICATION_SLOT archive PHYSICAL RESERVE_WAL")
	want := names(members[0])
	require.Len(t, want, 1)
	learns := func(n *node) {
		t.Helper()
		require.Eventually(t, func() bool { // a question that is answered late is asked again
			n.server.ExchangeNow(t.Context())
			return slices.Equal(want, names(n))
		}, patience, 10*time.Millisecond)
	}
	learns(members[1])
	members[0].down() // the third hears of it from the second
	learns(members[2])
	members[2].restart()
	require.Equal(t, want, names(members[2]))

	members[2].mustQuery("DROP_REPLICATION_SLOT archive")
	members[0].up()
	require.Eventually(t, func() bool { // also by itself, every 10 s
		for _, m := range members {
			m.server.ExchangeNow(t.Context())
		}
		return len(names(members[0]))+len(names(members[1]))+len(names(members[2])) == 0
	}, patience, 10*time.Millisecond)
}
