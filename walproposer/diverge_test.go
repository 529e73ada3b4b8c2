package walproposer_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/walproposer"
)

func (w *world) diverge(dir string) *walproposer.Divergence {
	w.t.Helper()
	d, err := walproposer.Diverge(w.ctx(), walproposer.CheckOptions{
		DataDir: dir, Safekeepers: w.addresses(), Tenant: w.id.Tenant, Timeline: w.id.Timeline.String(), Logger: testLogger(w.t),
	})
	require.NoError(w.t, err)
	return d
}

// A clone's WAL parts from the quorum's somewhere on the same timeline. That is
// found to the byte, and terms are left alone.
func TestDivergenceIsFoundToTheByte(t *testing.T) {
	t.Parallel()
	w := newWorld(t, computetest.Options{})
	w.work(false, 1)
	d := w.diverge(w.pg.DataDir())
	require.Equal(t, d.Dir.End, d.At, "nothing is only here")
	require.False(t, d.Superseded)
	clone := w.open(w.copyOf("clone"))
	require.NoError(t, clone.Set(w.ctx(), map[string]string{"synchronous_standby_names": ""}))
	require.NoError(t, clone.Start(w.ctx(), compute.StartOptions{}))
	for i := range 50 {
		require.NoError(t, clone.Exec(w.ctx(), fmt.Sprintf("INSERT INTO t VALUES (%d, 'clone')", 1000+i)))
	}
	require.NoError(t, clone.Stop(w.ctx(), compute.Fast))
	d = w.diverge(clone.DataDir())
	require.False(t, d.Superseded, "nobody wrote there yet")
	require.Equal(t, d.Quorum, d.At)
	w.work(false, 2, 3, 4)

	terms := w.terms()
	d = w.diverge(clone.DataDir())
	require.True(t, d.Superseded)
	require.Equal(t, firstDifference(t, w.pg, clone, d.Compared), d.At)
	require.Less(t, d.At, d.Dir.End)
	require.Equal(t, terms, w.terms())
}

// firstDifference compares the files of two servers byte by byte.
func firstDifference(t *testing.T, a, b *compute.Server, from wal.LSN) wal.LSN {
	t.Helper()
	for at := from; ; {
		no := wal.DefaultSegmentSize.SegmentNo(at)
		name := filepath.Join("pg_wal", wal.DefaultSegmentSize.FileName(1, no))
		x, err := os.ReadFile(filepath.Join(a.DataDir(), name))
		require.NoError(t, err)
		y, err := os.ReadFile(filepath.Join(b.DataDir(), name))
		require.NoError(t, err)
		for i := int(wal.DefaultSegmentSize.Offset(at)); i < len(x); i++ {
			if x[i] != y[i] {
				return wal.DefaultSegmentSize.Start(no) + wal.LSN(i)
			}
		}
		at = wal.DefaultSegmentSize.Start(no + 1)
	}
}
