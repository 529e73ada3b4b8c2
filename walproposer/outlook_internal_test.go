package walproposer

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
)

func TestForecast(t *testing.T) {
	const mib = 1 << 20
	start := time.Unix(0, 0)
	look := func(free, slot int64, written ...wal.LSN) forecast {
		o := newOutlook()
		for i, at := range written {
			o.add(start.Add(time.Duration(i)*outlookEvery), at, free, slot)
		}
		return o.forecast()
	}
	require.True(t, math.IsNaN(look(100*mib, -1, 5).lasts), "one look gives no rate")
	require.Empty(t, look(100*mib, -1, 5).String())
	f := look(100*mib, -1, 0, 10*mib)
	require.InDelta(t, 2.0*mib, f.rate, 0.001)
	require.InDelta(t, 50.0, f.lasts, 0.001)
	require.Equal(t, "; PostgreSQL keeps the WAL for 50s more at 2.0 MiB/s, 100 MiB, until its disk is full", f.String())
	f = look(100*mib, 20*mib, 0, 10*mib)
	require.InDelta(t, 10.0, f.lasts, 0.001, "the slot goes first")
	require.Contains(t, f.String(), "max_slot_wal_keep_size")
	require.InDelta(t, 10.0, look(20*mib, 100*mib, 0, 10*mib).lasts, 0.001, "the disk goes first")
	require.InDelta(t, 10.0, look(-1, 20*mib, 0, 10*mib).lasts, 0.001, "a disk that is not to be seen")
	require.True(t, math.IsNaN(look(-1, -1, 0, 10*mib).lasts), "no limit and no disk to be seen")
	require.True(t, math.IsInf(look(mib, -1, 7, 7).lasts, 1), "nothing is written")
	require.Contains(t, look(5*mib, -1, 7, 7).String(), "5 MiB more until its disk is full")
	// The rate is that of the last minute.
	var all []wal.LSN
	for i := range 30 {
		all = append(all, wal.LSN(max(0, i-17)*10*mib))
	}
	require.InDelta(t, 2.0*mib, look(mib, -1, all...).rate, 0.001)
	require.InDelta(t, 0.0, look(mib, -1, 100*mib, 5).rate, 0.001, "another server")
}
