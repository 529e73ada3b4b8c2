package walproposer_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/wal"
)

func TestOtherSegmentSizes(t *testing.T) {
	t.Parallel()
	for _, size := range []wal.SegmentSize{1 << 20, 64 << 20} {
		t.Run(size.String(), func(t *testing.T) {
			w := newWorld(t, computetest.Options{SegmentSize: size})
			o := w.options()
			o.QueueSize = 1
			p := w.propose(o)
			p.streams()
			w.demandQuorum()
			w.exec("CREATE TABLE big AS SELECT i, repeat(md5(i::text), 20) FROM generate_series(1, 12000) i")
			w.exec("SELECT pg_switch_wal()")
			require.NoError(t, w.insert(1))
			// A server that crashed in the middle of things goes on as well.
			require.NoError(t, w.pg.Kill())
			require.NoError(t, w.pg.Start(w.ctx(), compute.StartOptions{}))
			require.NoError(t, w.insert(2))
		})
	}
}
