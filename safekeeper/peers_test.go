package safekeeper_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// With no writer alive a commit position known to one member becomes known to
// all, and a laggard and an empty member take over the committed WAL, up to the
// commit position and not further.
func TestMembersLearnFromEachOther(t *testing.T) {
	o := builtOrigin(t, 2<<20)
	members := []*node{startSafekeeper(t, 1, nil), startSafekeeper(t, 2, nil), startSafekeeper(t, 3, nil)}
	o.found(t, members)
	ahead, laggard, empty := members[0], members[1], members[2]
	third, mid := o.ends[len(o.ends)/3], o.ends[len(o.ends)/2]
	pa, pl := propose(t, ahead, o, 1, nil), propose(t, laggard, o, 1, nil)
	pl.append(third, 0)
	pl.waitFlush(third)
	pa.append(o.end(), 0)
	pa.waitFlush(o.end())
	pa.append(o.end(), mid)
	ahead.waitLSN("commit_lsn", mid)
	pa.close()
	pl.close()

	for _, n := range []*node{laggard, empty} {
		n.waitLSN("commit_lsn", mid)
		require.Equal(t, mid, n.lsn("flush_lsn"), "not a byte above the peer's commit position")
		requireSameWAL(t, wal.Range{Start: o.from, End: mid}, ahead, n)
		require.Equal(t, ahead.mustQuery("TIMELINE_STATUS")[0]["term_history"], n.mustQuery("TIMELINE_STATUS")[0]["term_history"])
	}
	require.Equal(t, o.end(), ahead.lsn("flush_lsn"), "nothing was cut from the one that was ahead")
	age := laggard.mustQuery("TIMELINE_STATUS")[0]
	require.NotEqual(t, "-1", age["writer_age_ms"])
	ms, err := age.Uint("writer_age_ms")
	require.NoError(t, err)
	require.Greater(t, time.Duration(ms)*time.Millisecond, time.Second, "learning is not a writer")
	require.Equal(t, "-1", empty.mustQuery("TIMELINE_STATUS")[0]["writer_age_ms"])
	require.Len(t, empty.mustQuery("SHOW PEERS"), 2)

	// The next proposer goes on from there as if a writer had brought it.
	p := propose(t, empty, o, 2, nil)
	require.Equal(t, mid, p.pos)
	p.append(o.end(), 0)
	p.waitFlush(o.end())
}

// A member that voted for a higher term takes nothing over: only a proposer can
// settle what its election may have counted.
func TestNothingIsLearnedAcrossAVote(t *testing.T) {
	o := builtOrigin(t, 1<<20)
	members := []*node{startSafekeeper(t, 1, nil), startSafekeeper(t, 2, nil)}
	o.found(t, members)
	pa := propose(t, members[0], o, 1, nil)
	pa.append(o.end(), 0)
	pa.waitFlush(o.end())
	voter := voteOnly(t, members[1], o, 5)
	pa.append(o.end(), o.end())
	members[0].waitLSN("commit_lsn", o.end())
	pa.close()
	voter()
	require.Eventually(t, func() bool { // it has asked at least once
		rows, err := members[1].query("SHOW PEERS")
		return err == nil && len(rows) == 1 && rows[0]["commit_lsn"] == o.end().String()
	}, patience, 50*time.Millisecond)
	require.Equal(t, o.start, members[1].lsn("commit_lsn"))
	require.Equal(t, o.start, members[1].lsn("flush_lsn"))
}

// A member whose writer ended in the middle of the bytes in front of the first
// record learns from a peer like an empty one.
func TestMemberWithAPartOfThePrefixLearns(t *testing.T) {
	o := builtOrigin(t, 1<<20)
	members := []*node{startSafekeeper(t, 1, nil), startSafekeeper(t, 2, nil)}
	o.found(t, members)
	begun := propose(t, members[1], o, 1, nil)
	begun.append(o.from+16, 0)
	begun.waitFlush(o.start)
	pa := propose(t, members[0], o, 1, nil)
	pa.append(o.end(), 0)
	pa.waitFlush(o.end())
	pa.append(o.end(), o.end())
	members[0].waitLSN("commit_lsn", o.end())
	pa.close()
	begun.close()
	members[1].waitLSN("commit_lsn", o.end())
	requireSameWAL(t, wal.Range{Start: o.from, End: o.end()}, members[0], members[1])
}

// A timeline whose writers came and went a hundred thousand times goes on.
func TestLongTermHistory(t *testing.T) {
	o := builtOrigin(t, 1<<20)
	sk := startSafekeeper(t, 1, nil)
	o.found(t, []*node{sk})
	history := pushwal.TermHistory{{Term: 0, LSN: o.start}}
	const terms = 100_000
	for term := range wal.Term(terms) {
		history = append(history, pushwal.TermLSN{Term: term + 1, LSN: o.start})
	}
	p := propose(t, sk, o, terms, history)
	p.append(o.end(), 0)
	p.waitFlush(o.end())
	p.close()
	again := dialProposer(t, sk, o, terms+1)
	require.Len(t, again.vote().History, terms+1)
	go again.listen()
	again.close()
}
