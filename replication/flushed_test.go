package replication

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

func TestFlushLog(t *testing.T) {
	var f flushLog
	_, ok := f.at(5)
	require.False(t, ok)
	start := time.Unix(1000, 0)
	when := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	f.add(100, when(0))
	f.add(200, when(10))
	f.add(300, when(20))
	f.add(310, when(21)) // comes to be the next one's
	f.add(400, when(23))
	for l, ms := range map[wal.LSN]int{101: 10, 200: 10, 201: 20, 300: 20, 305: 23, 310: 23, 400: 23} {
		at, ok := f.at(l)
		require.True(t, ok, l)
		require.Equal(t, when(ms), at, l)
	}
	for _, l := range []wal.LSN{1, 100, 401} {
		_, ok := f.at(l)
		require.False(t, ok, "%s: before the first mark, or not yet", l)
	}
	f.cut(250)
	_, ok = f.at(300)
	require.False(t, ok, "it was cut")
	f.add(300, when(50))
	at, _ := f.at(300)
	require.Equal(t, when(50), at, "of the bytes that are there")

	for i := range 3 * flushMarks {
		f.add(wal.LSN(1000+i), when(100+10*i))
	}
	require.Len(t, f.marks, flushMarks)
	_, ok = f.at(1000)
	require.False(t, ok, "too long ago")
	at, ok = f.at(1000 + 3*flushMarks - 2)
	require.True(t, ok)
	require.Equal(t, when(100+10*(3*flushMarks-2)), at)
}

func TestTermAt(t *testing.T) {
	s := Status{FlushLSN: 500, History: pushwal.TermHistory{{Term: 0, LSN: 100}, {Term: 2, LSN: 100}, {Term: 5, LSN: 300}}}
	for l, term := range map[wal.LSN]wal.Term{100: 0, 101: 2, 300: 2, 301: 5, 500: 5, 501: 0} {
		require.Equal(t, term, s.TermAt(l), l)
	}
}
