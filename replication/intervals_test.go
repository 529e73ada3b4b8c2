package replication

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func second(s int64) time.Time { return time.Unix(s, 5).UTC() }

func TestIntervalsAreReadAsTheyAreWritten(t *testing.T) {
	for _, i := range []Interval{
		{Reason: "synchronous_standby_names is 'x'", Began: second(7), After: second(5), Ended: second(9), From: 100, To: 200},
		{Reason: "off", Began: second(7), From: 100},
	} {
		row := Row{}
		for n, v := range i.Values() {
			if s, ok := v.(string); ok {
				row[IntervalColumns[n]] = s
			}
		}
		row["from_lsn"], row["to_lsn"] = i.From.String(), i.To.String()
		got, err := ParseInterval(row)
		require.NoError(t, err)
		require.Equal(t, i, got)
		require.True(t, SameInterval(i, got))
	}
	for name, row := range map[string]Row{
		"no beginning":    {"from_lsn": "0/1", "to_lsn": "0/0", "reason": "x"},
		"no position":     {"began": "2026-01-01T00:00:00Z", "reason": "x"},
		"no time":         {"began": "yesterday", "from_lsn": "0/1", "to_lsn": "0/0"},
		"a long reason":   {"began": "2026-01-01T00:00:00Z", "from_lsn": "0/1", "to_lsn": "0/0", "reason": strings.Repeat("x", maxReason+1)},
		"lines in reason": {"began": "2026-01-01T00:00:00Z", "from_lsn": "0/1", "to_lsn": "0/0", "reason": "a\nb"},
	} {
		_, err := ParseInterval(row)
		require.Error(t, err, name)
	}
	long := Interval{Reason: strings.Repeat("\u00e4\n", 300), Began: second(1)}
	require.LessOrEqual(t, len(bounded(long.Reason)), maxReason)
	require.NotContains(t, long.Statement(), "\n")
}

func TestMergeIntervals(t *testing.T) {
	open, over := Interval{Began: second(5)}, Interval{Began: second(5), Ended: second(6)}
	first := Interval{Began: second(1), Ended: second(2)}
	require.Equal(t, []Interval{first, over}, MergeIntervals([]Interval{open}, []Interval{over, first}, []Interval{first, open}),
		"once each, and who knows that it is over is believed")
	var many []Interval
	for s := range int64(MaxIntervals + 3) {
		many = append(many, Interval{Began: second(s)})
	}
	require.Equal(t, many[3:], MergeIntervals(many), "the newest")
}
