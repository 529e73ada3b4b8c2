package safekeeper_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/safekeeper"
	"github.com/walhaven/walhaven/wal"
)

// settlers are members that settle the end of WAL by themselves, and not before
// release is called: until then a proposer is connected that asks for nothing. by
// is the one that does it after less than the usual time. What the others wait for
// it is for TestWhoSettles: on a busy machine it may not be enough.
func settlers(t *testing.T, o *origin, by uint64, pageservers ...*node) (members []*node, release func()) {
	t.Helper()
	for id := range uint64(3) {
		members = append(members, startSafekeeper(t, id+1, func(c *safekeeper.Config) {
			if c.HeadlessAfter = patience; id+1 == by {
				c.HeadlessAfter = time.Second
			}
			for _, p := range pageservers {
				c.Pageserver = append(c.Pageserver, p.addr)
			}
		}))
	}
	o.found(t, members)
	starting := dialProposer(t, members[1], o, 9)
	go starting.listen()
	return members, sync.OnceFunc(starting.close)
}

// The writer dies when a majority holds its last WAL and nobody was told that it
// is committed: what it had acknowledged would be hidden from everyone who reads,
// had the members not a proposer of their own.
func TestMembersSettleWhatADeadWriterLeft(t *testing.T) {
	o := builtOrigin(t, 3<<20) // across segments
	ps := startPageserver(t, 1)
	members, release := settlers(t, o, 1, ps)
	defer release()
	third := o.ends[len(o.ends)/3]
	laggard := propose(t, members[0], o, 1, nil)
	laggard.append(third, third)
	laggard.waitFlush(third)
	for _, n := range members[1:] {
		p := propose(t, n, o, 1, nil)
		p.append(o.end(), third)
		p.waitFlush(o.end())
		defer p.close()
	}
	laggard.close()
	release()

	for _, n := range members {
		n.waitLSN("commit_lsn", o.end())
	}
	for _, n := range members[1:] {
		requireSameWAL(t, wal.Range{Start: o.from, End: o.end()}, members[0], n)
	}
	ps.waitLSN("last_record_lsn", o.end())
	term, err := members[0].mustQuery("TIMELINE_STATUS")[0].Uint("term")
	require.NoError(t, err)
	require.EqualValues(t, 2, term, "one headless term, by the lowest member")
	members[0].waitSettled()
	for i, n := range members[1:] {
		require.InDelta(t, 0, n.counter(t, "walhaven_safekeeper_headless_syncs_total"), 0, "member %d", i+2)
	}
}

// All members say the same, which is not that they know everything.
func TestMembersSettleThoughAllSayTheSame(t *testing.T) {
	o := builtOrigin(t, 1<<20)
	members, release := settlers(t, o, 1)
	defer release()
	mid := o.ends[len(o.ends)/2]
	for _, n := range members {
		p := propose(t, n, o, 1, nil)
		p.append(o.end(), 0)
		p.waitFlush(o.end())
		p.append(o.end(), mid)
		n.waitLSN("commit_lsn", mid)
		p.close()
	}
	release()
	for _, n := range members {
		n.waitLSN("commit_lsn", o.end())
	}
}

// With the lowest member dead the next one does it, and the one that comes back
// learns.
func TestTheNextMemberSettles(t *testing.T) {
	o := builtOrigin(t, 1<<20)
	members, release := settlers(t, o, 2)
	defer release()
	for _, n := range members {
		p := propose(t, n, o, 1, nil)
		p.append(o.end(), 0)
		p.waitFlush(o.end())
		p.close()
	}
	members[0].down()
	release()
	for _, n := range members[1:] {
		n.waitLSN("commit_lsn", o.end())
	}
	members[1].waitSettled()
	members[0].up()
	members[0].waitLSN("commit_lsn", o.end())
}

// WAL that only a minority holds may be cut: if the majority settles without it,
// its holder follows.
func TestSettlingCutsWhatAMinorityHolds(t *testing.T) {
	o := builtOrigin(t, 1<<20)
	members, release := settlers(t, o, 1)
	defer release()
	mid := o.ends[len(o.ends)/2]
	for i, n := range members {
		p := propose(t, n, o, 1, nil)
		end := mid
		if i == 2 {
			end = o.end()
		}
		p.append(end, 0)
		p.waitFlush(end)
		p.close()
	}
	members[2].down()
	release()
	members[0].waitLSN("commit_lsn", mid)
	members[1].waitLSN("commit_lsn", mid)
	members[2].up()
	members[2].waitLSN("commit_lsn", mid)
}

// waitSettled waits until a run of this node is over, which the members know of
// before it does.
func (n *node) waitSettled() {
	n.t.Helper()
	require.Eventually(n.t, func() bool { return n.counter(n.t, "walhaven_safekeeper_headless_syncs_total") >= 1 }, patience, 10*time.Millisecond)
}

// counter reads one of its metrics.
func (n *node) counter(t *testing.T, name string) float64 {
	t.Helper()
	families, err := n.metrics.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
