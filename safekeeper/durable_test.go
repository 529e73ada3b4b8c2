package safekeeper_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/replication"
)

// A receipt says what a majority holds and what is committed, whoever is asked.
func TestReceipts(t *testing.T) {
	o := builtOrigin(t, 1<<20)
	members := []*node{startSafekeeper(t, 1, nil), startSafekeeper(t, 2, nil), startSafekeeper(t, 3, nil)}
	o.found(t, members)
	third, mid := o.ends[len(o.ends)/3], o.ends[len(o.ends)/2]
	began := time.Now()
	p := []*proposer{propose(t, members[0], o, 1, nil), propose(t, members[1], o, 1, nil), propose(t, members[2], o, 1, nil)}
	for _, p := range p {
		p.append(third, 0)
		p.waitFlush(third)
	}
	p[0].append(mid, 0)
	p[0].waitFlush(mid)

	rows := members[0].receipt("DURABLE " + third.String())
	for _, row := range rows {
		require.Equal(t, "f", row["durable"], "all hold it, and nobody knows it to be committed: a longer log of another term may still win")
		require.Equal(t, "t", row["holds"])
	}
	p[0].append(mid, third)
	members[0].waitLSN("commit_lsn", third)
	for _, n := range members {
		for _, row := range n.receipt("DURABLE " + third.String()) {
			require.Equal(t, "t", row["durable"], "asked of node %d, which may not know of the commit itself", n.id)
			require.Equal(t, "1", row["term"])
			at, err := time.Parse(time.RFC3339Nano, row["flushed_at"])
			require.NoError(t, err)
			require.WithinRange(t, at, began, time.Now())
		}
	}

	// More than a minority holds is not durable, though it is waited for.
	rows = members[0].receipt("WAIT FOR LSN '" + mid.String() + "' TIMEOUT '300ms'")
	require.Equal(t, "f", rows[0]["durable"])
	require.Equal(t, []string{"t", "f", "f"}, []string{rows[0]["holds"], rows[1]["holds"], rows[2]["holds"]})
	require.Empty(t, rows[1]["flushed_at"])

	// It comes to be while it is waited for.
	done := make(chan string, 1)
	go func() {
		rows, err := members[2].query("WAIT FOR LSN '" + mid.String() + "' TIMEOUT '1m'")
		if err != nil || len(rows) == 0 {
			done <- "no answer"
			return
		}
		done <- rows[0]["durable"]
	}()
	p[1].append(mid, 0)
	p[1].waitFlush(mid)
	p[1].append(mid, mid)
	require.Equal(t, "t", <-done)

	// A minority says nothing, and a bad argument is refused.
	members[1].down()
	members[2].down()
	_, err := members[0].query("DURABLE " + third.String())
	require.ErrorContains(t, err, "only 1 of 3 members answer")
	_, err = members[0].query("WAIT FOR LSN '" + third.String() + "' TIMEOUT 'soon'")
	require.ErrorContains(t, err, "not a time to wait")
}

// receipt is one in which every member has its say. Who does not answer in time is
// left out of it, which is no finding here.
func (n *node) receipt(sql string) (rows []replication.Row) {
	n.t.Helper()
	require.Eventually(n.t, func() bool {
		var err error
		rows, err = n.query(sql)
		return err == nil && len(rows) == 3 && !slices.ContainsFunc(rows, func(r replication.Row) bool { return r["error"] != "" })
	}, patience, 10*time.Millisecond)
	return rows
}
