package walproposer_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/replication"
)

// A member that lost its disk after the others had removed the timeline's first
// segment cannot be filled. That is said, and does not hinder the others.
func TestUnfillableMemberIsReported(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	p := w.propose(w.options())
	p.streams()
	w.demandQuorum()
	require.NoError(t, w.insert(1))
	w.exec("SELECT pg_switch_wal()")
	require.NoError(t, w.insert(2))
	// A majority has it; the segment is complete only where the rest arrived too.
	end := p.Status().CommitLSN
	require.Eventually(t, func() bool {
		return !slices.ContainsFunc(w.statuses(), func(s replication.Status) bool { return s.FlushLSN < end })
	}, patience, 10*time.Millisecond)
	p.stop()
	for _, k := range w.keepers {
		k.down()
	}
	w.keepers[2].dir = t.TempDir()
	for _, k := range w.keepers[:2] {
		k.removeFirstSegment()
		k.up()
	}
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

// removeFirstSegment does what retention does once everybody has it.
func (k *keeper) removeFirstSegment() {
	k.t.Helper()
	files, err := filepath.Glob(filepath.Join(k.dir, "*", "*", "0000000100000000????????"))
	require.NoError(k.t, err)
	require.NotEmpty(k.t, files)
	slices.Sort(files)
	require.NoError(k.t, os.Remove(files[0]))
}
