package walproposer_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
)

// A member that was away while the others removed WAL that it needs next cannot be
// filled. That is said, and does not hinder the others.
func TestUnfillableMemberIsReported(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	p := w.propose(w.options())
	p.streams()
	w.demandQuorum()
	require.NoError(t, w.insert(1))
	w.keepers[2].down()
	w.twoSegments(p, "SELECT pg_switch_wal()", 0, 1)
	w.restartWithoutFirstSegment(p, 0, 1)
	p = w.propose(w.options())
	p.streams()
	require.NoError(t, w.insert(3))
	w.keepers[2].up()
	reason := func() string {
		_, checks := p.health.Status()
		for _, c := range checks {
			if c.Name == "members" && !c.OK {
				return c.Reason
			}
		}
		return ""
	}
	require.Eventually(t, func() bool { return strings.Contains(reason(), w.keepers[2].addr+" cannot be filled") }, patience, 20*time.Millisecond)
	require.NoError(t, w.insert(4))
	p.streams()
}

// A member that lost its disk after the others had removed the timeline's first
// segment begins where their WAL begins, with the same bytes from there on, and says so
// to who asks for what lies below.
func TestJoinerBeginsWhereWALBegins(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	p := w.propose(w.options())
	p.streams()
	w.demandQuorum()
	require.NoError(t, w.insert(1))
	// A record that is continued on all pages of the second segment.
	w.twoSegments(p, "SELECT pg_logical_emit_message(true, 'long', repeat('x', 24 << 20))", 0, 1, 2)
	w.restartWithoutFirstSegment(p, 0, 1)
	w.keepers[2].down()
	w.keepers[2].dir = t.TempDir()
	p = w.propose(w.options())
	p.streams()
	require.NoError(t, w.insert(3))
	w.keepers[2].up()
	end := p.Status().CommitLSN
	filled := func() bool {
		s := w.statusesOf(2)
		return len(s) == 1 && s[0].Joining && s[0].CommitLSN >= end
	}
	require.Eventually(t, filled, patience, 20*time.Millisecond)

	all := w.statuses()
	from := all[0].Oldest
	require.Greater(t, from, all[0].Start)
	require.Equal(t, from, all[2].Oldest, "it begins with the segment that the others begin with")
	require.Greater(t, all[2].Start, from+wal.LSN(all[0].SegmentSize)/2, "and at the record behind the long one")
	require.Equal(t, all[0].OldestRecord, all[2].Start)
	digests := fmt.Sprintf("WAL_DIGEST %s %s", from, end)
	want, err := w.keepers[0].query(w, digests)
	require.NoError(t, err)
	got, err := w.keepers[2].query(w, digests)
	require.NoError(t, err)
	require.Equal(t, want, got, "the bytes are the others', also in front of its first record")
	_, err = w.keepers[2].query(w, fmt.Sprintf("WAL_DIGEST %s %s", all[0].Start, end))
	require.ErrorContains(t, err, "removed")

	w.keepers[2].down()
	w.keepers[2].up()
	require.NoError(t, w.insert(4))
	end = p.Status().CommitLSN
	require.Eventually(t, filled, patience, 20*time.Millisecond, "it goes on after a restart")
}

// TestMemberIsFilledByWhoKeepsItsWAL: the one that has the most WAL has removed what a
// member goes on with, another has it still.
func TestMemberIsFilledByWhoKeepsItsWAL(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	p := w.propose(w.options())
	p.streams()
	w.demandQuorum()
	require.NoError(t, w.insert(1))
	w.keepers[2].down()
	w.twoSegments(p, "SELECT pg_switch_wal()", 0, 1)
	w.restartWithoutFirstSegment(p, 0)
	p = w.propose(w.options())
	p.streams()
	require.NoError(t, w.insert(3))
	end := p.Status().CommitLSN
	require.Eventually(t, func() bool {
		return !slices.ContainsFunc(w.statusesOf(0, 1), func(s replication.Status) bool { return s.FlushLSN < end })
	}, patience, 10*time.Millisecond)
	require.Less(t, w.statusesOf(1)[0].Oldest, w.statusesOf(0)[0].Oldest)
	w.keepers[2].up()
	require.Eventually(t, func() bool {
		s := w.statusesOf(2)
		return len(s) == 1 && s[0].CommitLSN >= end
	}, patience, 20*time.Millisecond)
	digests := fmt.Sprintf("WAL_DIGEST %s %s", w.statusesOf(1)[0].Start, end)
	want, err := w.keepers[1].query(w, digests)
	require.NoError(t, err)
	got, err := w.keepers[2].query(w, digests)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// twoSegments ends a segment and begins another on these safekeepers.
func (w *world) twoSegments(p *proposer, sql string, which ...int) {
	w.t.Helper()
	w.exec(sql)
	require.NoError(w.t, w.insert(2))
	// A majority has it; the segment is complete only where the rest arrived too.
	end := p.Status().CommitLSN
	require.Eventually(w.t, func() bool {
		return !slices.ContainsFunc(w.statusesOf(which...), func(s replication.Status) bool { return s.FlushLSN < end })
	}, patience, 10*time.Millisecond)
}

// restartWithoutFirstSegment stops everything, and starts these safekeepers with less.
func (w *world) restartWithoutFirstSegment(p *proposer, which ...int) {
	w.t.Helper()
	p.stop()
	for _, i := range which {
		w.keepers[i].down()
	}
	for _, i := range which {
		w.keepers[i].removeFirstSegment()
		w.keepers[i].up()
	}
}

// removeFirstSegment does what retention does once everybody has it.
func (k *keeper) removeFirstSegment() {
	k.t.Helper()
	files, err := filepath.Glob(filepath.Join(k.dir, "*", "*", "0000000100000000????????"))
	require.NoError(k.t, err)
	require.NotEmpty(k.t, files)
	slices.Sort(files)
	require.NoError(k.t, os.Remove(files[0]))
}
