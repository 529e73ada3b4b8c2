package safekeeper_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/receiver"
	"github.com/walhaven/walhaven/wal"
)

// joinsLater founds the timeline on a node that joins where WAL begins by now, as
// TIMELINE_STATUS of another one tells it.
func (o *origin) joinsLater(sk, other *node, at wal.LSN, terms string) error {
	incarnation := func(n *node) string { return n.mustQuery("SHOW NODE")[0]["incarnation"] }
	_, err := sk.query(fmt.Sprintf("CREATE TIMELINE %s %s (name 'main', system_id '%d', pg_version '%d', wal_segment_size '%d', start_lsn '%s', "+
		"members '%d=%s,%d=%s', incarnations '%d=%s,%d=%s', joining 'true', term_history '%s')",
		testID.Tenant, testID.Timeline, o.systemID, o.version, o.segment, at,
		other.id, other.addr, sk.id, sk.addr, other.id, incarnation(other), sk.id, incarnation(sk), terms))
	return err
}

// readsFrom asks for WAL as pg_receivewal and standbys do.
func readsFrom(t *testing.T, sk *node, at wal.LSN) error {
	t.Helper()
	options := sk.options()
	options.Params["replication"] = "true"
	client, err := replication.Connect(t.Context(), sk.conninfo(), options)
	require.NoError(t, err)
	defer client.Close() //nolint:errcheck // Only what it reads is looked at.
	r, err := receiver.Start(t.Context(), client, at, receiver.Options{TLI: 1, Timeout: 300 * time.Millisecond})
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // As above.
	_, _, err = r.Next()
	return err
}

// TestMemberThatBeginsLater: who asks it for WAL in front of its beginning is told that
// it was removed, and never gets bytes that it does not have. Pageservers take it for
// one that held the whole timeline.
func TestMemberThatBeginsLater(t *testing.T) {
	o := builtOrigin(t, 4<<20)
	ps, fresh := startPageserver(t, 9), startPageserver(t, 8)
	first := startSafekeeper(t, 1, pushingTo(ps))
	later := startSafekeeper(t, 2, pushingTo(ps, fresh))
	half := o.ends[len(o.ends)/2]
	o.found(t, []*node{first, later}, first)
	p := propose(t, first, o, 1, nil)
	p.append(half, 0)
	p.waitFlush(half)
	p.append(half, half)
	ps.waitLSN("disk_consistent_lsn", half)
	p.close()
	first.down()

	terms := fmt.Sprintf("0@%s,1@%s", o.start, o.start)
	first.up()
	for why, malformed := range map[string]string{
		"not term@LSN": "x", "is not in order": terms + ",1@0/500000", "the WAL below start_lsn": fmt.Sprintf("1@%s", half+8),
		"term history of term": fmt.Sprintf("0@%s,9223372036854775807@%s", o.start, o.start),
	} {
		require.ErrorContains(t, o.joinsLater(later, first, half, malformed), why)
	}
	require.NoError(t, o.joinsLater(later, first, half, terms))
	first.down()
	begins := o.segment.SegmentStart(half)

	check := func() {
		t.Helper()
		for _, r := range []wal.Range{{Start: o.start, End: half}, {Start: o.start, End: o.start + 100}, {Start: begins - 8, End: half}} {
			_, err := later.query("WAL_DIGEST " + r.Start.String() + " " + r.End.String())
			require.Equal(t, protocol.CodeUndefinedFile, protocol.SQLState(err), "%s: %v", r, err)
		}
		err := readsFrom(t, later, o.from)
		require.Equal(t, protocol.CodeUndefinedFile, protocol.SQLState(err))
		require.ErrorContains(t, err, "has already been removed")
	}
	check()
	_, err := later.query("WAL_DIGEST " + begins.String() + " " + half.String())
	require.Error(t, err, "what has not come is not made up")
	require.Error(t, readsFrom(t, later, begins), "nor sent")
	later.restart()
	check()

	// It is filled from its segment's beginning, and goes on.
	p = dialProposer(t, later, o, 1)
	v := p.vote()
	require.False(t, v.VoteGiven)
	require.Equal(t, half, v.FlushLSN)
	p.pos = begins
	p.send(p.codec.AppendProposerElected(nil, &pushwal.ProposerElected{
		Generation: 1, Term: 1, StartStreamingAt: begins, History: v.History, TLIHistory: wal.TimelineHistory{Last: 1},
	}))
	go p.listen()
	t.Cleanup(p.close)
	p.append(o.end(), half)
	p.waitFlush(o.end())
	p.append(o.end(), o.end())
	later.waitLSN("commit_lsn", o.end())
	check()
	require.Equal(t, half, later.lsn("start_lsn"))

	// Who has the WAL in front of it goes on from it; who has not is told so, and does
	// not take the timeline for one that begins there.
	ps.waitLSN("disk_consistent_lsn", o.end())
	requireSameWAL(t, wal.Range{Start: begins, End: o.end()}, later, ps)
	require.Eventually(t, func() bool {
		gaps := later.mustQuery("SHOW GAPS")
		return len(gaps) == 1 && gaps[0]["pageserver"] == fresh.addr && strings.Contains(gaps[0]["to_lsn"], begins.String())
	}, patience, 10*time.Millisecond)
	require.Equal(t, o.start, fresh.lsn("start_lsn"))
	require.Equal(t, o.start, fresh.lsn("disk_consistent_lsn"), "it has nothing")
}
