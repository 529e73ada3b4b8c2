package walproposer_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/walproposer"
)

// An operator who repeats CREATE TIMELINE after a member lost its disk neither
// gets a voter without data nor stops the others, who refuse and go on.
func TestRefoundedMemberDoesNotCount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	p := w.propose(w.options())
	p.streams()
	w.demandQuorum()
	require.NoError(t, w.insert(1))
	p.stop()
	w.keepers[2].down()
	w.keepers[2].dir = t.TempDir()
	w.keepers[2].up()
	refused := w.foundAgain()
	require.Equal(t, []string{"42710", "42710", ""}, refused)
	require.False(t, w.statusesOf(2)[0].Joining, "the node itself cannot know better")

	o := w.options()
	slices.Reverse(o.Safekeepers)
	for i := range 3 {
		p := w.propose(o)
		p.streams()
		require.NoError(t, w.insert(10+i))
		p.stop()
	}

	// A member that answers and the empty one say nothing about the third.
	w.keepers[0].down()
	_, err := walproposer.Sync(w.ctx(), walproposer.SyncOptions{Safekeepers: w.addresses(), Tenant: w.id.Tenant, Timeline: w.id.Timeline})
	require.ErrorContains(t, err, "no majority of the safekeepers answers")
}

// foundAgain runs CREATE TIMELINE everywhere with the incarnations that the
// nodes have now, and returns the SQLSTATEs.
func (w *world) foundAgain() (codes []string) {
	w.t.Helper()
	st := w.statusesOf(0)[0]
	ask := func(k *keeper, sql string) ([]replication.Row, error) {
		return replication.Query(w.ctx(), k.conninfo(), sql, replication.DialOptions{})
	}
	var members, incarnations []string
	for _, k := range w.keepers {
		rows, err := ask(k, "SHOW NODE")
		require.NoError(w.t, err)
		members = append(members, rows[0]["node_id"]+"="+k.addr)
		incarnations = append(incarnations, rows[0]["node_id"]+"="+rows[0]["incarnation"])
	}
	sql := fmt.Sprintf("CREATE TIMELINE %s %s (name 'main', system_id '%s', pg_version '%d', wal_segment_size '%d', start_lsn '%s', members '%s', incarnations '%s')",
		w.id.Tenant, w.id.Timeline, st.SystemID, st.PGVersion, uint32(st.SegmentSize), st.Start, strings.Join(members, ","), strings.Join(incarnations, ","))
	for _, k := range w.keepers {
		_, err := ask(k, sql)
		codes = append(codes, protocol.SQLState(err))
	}
	return codes
}
