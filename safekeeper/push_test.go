package safekeeper_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWALPushedToMembersIsServedBack(t *testing.T) {
	o := builtOrigin(t, 3<<20)
	a, b := startSafekeeper(t, 1, nil), startSafekeeper(t, 2, nil)
	members := []*node{a, b}
	o.found(t, members)
	o.found(t, members) // idempotent

	pa, pb := propose(t, a, o, 1, nil), propose(t, b, o, 1, nil)
	mid := o.ends[len(o.ends)/2]
	for _, p := range []*proposer{pa, pb} {
		p.append(mid, 0)
	}
	pa.waitFlush(mid)
	pb.waitFlush(mid)
	require.Equal(t, o.start, a.lsn("commit_lsn"), "nothing is committed before the proposer says so")
	for _, p := range []*proposer{pa, pb} {
		p.append(mid, mid)
	}
	a.waitLSN("commit_lsn", mid)
	b.waitLSN("commit_lsn", mid)

	query := "WAL_DIGEST " + o.from.String() + " " + mid.String()
	require.Equal(t, a.mustQuery(query), b.mustQuery(query))

	a.restart()
	require.Equal(t, mid, a.lsn("flush_lsn"), "what was acknowledged is there after a restart")
	require.Equal(t, mid, a.lsn("commit_lsn"))
}
