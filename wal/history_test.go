package wal

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// threeTimes is the history of a timeline that was promoted three times.
var threeTimes = TimelineHistory{Last: 7, Ancestors: []HistoryEntry{
	{TLI: 1, Switch: 0x3000000, Reason: "no recovery target specified"},
	{TLI: 2, Switch: 0x5000028, Reason: "before 2000-01-01 00:00:00+00"},
	{TLI: 5, Switch: 0x5000028, Reason: ""},
}}

const threeTimesFile = "1\t0/3000000\tno recovery target specified\n" +
	"2\t0/5000028\tbefore 2000-01-01 00:00:00+00\n" +
	"5\t0/5000028\t\n"

func TestHistoryFile(t *testing.T) {
	require.Equal(t, threeTimesFile, string(threeTimes.Format()))
	h, err := ParseTimelineHistory(7, []byte(threeTimesFile))
	require.NoError(t, err)
	require.Equal(t, threeTimes, h)
	require.Equal(t, "0000001F.history", HistoryFileName(31))

	// What PostgreSQL's reader takes: comments, blank lines, no last line feed,
	// carriage returns, no reason.
	h, err = ParseTimelineHistory(3, []byte("# a comment\n\n  # another\n1\t0/3000000\n \t \n2\t0/4000000\twhy\r"))
	require.NoError(t, err)
	require.Equal(t, TimelineHistory{Last: 3, Ancestors: []HistoryEntry{{1, 0x3000000, ""}, {2, 0x4000000, "why"}}}, h)

	h, err = ParseTimelineHistory(1, nil)
	require.NoError(t, err)
	require.Equal(t, TimelineHistory{Last: 1}, h)
	require.Empty(t, h.Format())
}

// A server that was recovered to a point in front of a promotion names the timeline
// of that promotion as its parent, and its own switch point behind it.
func TestHistoryOfARecoveryBehindASwitch(t *testing.T) {
	h, err := ParseTimelineHistory(4, []byte("1\t0/1000\tx\n2\t0/5000\tx\n3\t0/3000\tbefore 0/3000\n"))
	require.NoError(t, err)
	require.True(t, h.Valid())
	for at, want := range map[LSN]TLI{0xFFF: 1, 0x1000: 2, 0x2FFF: 2, 0x3000: 4, 0x6000: 4} {
		require.Equal(t, want, h.TLIAt(at), at)
	}
}

func TestHistoryFileRefused(t *testing.T) {
	for name, c := range map[string]struct {
		tli  TLI
		text string
	}{
		"timeline 0":          {0, ""},
		"ancestor of itself":  {2, "2\t0/1\tx"},
		"ancestor above":      {2, "3\t0/1\tx"},
		"ancestor 0":          {2, "0\t0/1\tx"},
		"falling timelines":   {9, "2\t0/1\tx\n1\t0/2\tx"},
		"timeline twice":      {9, "2\t0/1\tx\n2\t0/2\tx"},
		"no LSN":              {9, "1"},
		"bad LSN":             {9, "1\t0-1\tx"},
		"bad timeline":        {9, "one\t0/1\tx"},
		"negative timeline":   {9, "-1\t0/1\tx"},
		"timeline of 33 bits": {9, "4294967296\t0/1\tx"},
	} {
		_, err := ParseTimelineHistory(c.tli, []byte(c.text))
		require.Error(t, err, name)
		require.ErrorContains(t, err, "history file of timeline", name)
	}
}

func TestHistoryQuestions(t *testing.T) {
	for l, want := range map[LSN]TLI{0: 1, 0x2FFFFFF: 1, 0x3000000: 2, 0x5000027: 2, 0x5000028: 7, 1 << 40: 7} {
		require.Equal(t, want, threeTimes.TLIAt(l), "%s", l)
	}
	for tli, want := range map[TLI]LSN{1: 0, 2: 0x3000000, 5: 0x5000028, 7: 0x5000028} {
		begin, ok := threeTimes.Begin(tli)
		require.True(t, ok)
		require.Equal(t, want, begin)
	}
	_, ok := threeTimes.Begin(3)
	require.False(t, ok)

	end, next, ok := threeTimes.SwitchPoint(2)
	require.True(t, ok)
	require.Equal(t, LSN(0x5000028), end)
	require.Equal(t, TLI(5), next)
	_, next, ok = threeTimes.SwitchPoint(5)
	require.True(t, ok)
	require.Equal(t, TLI(7), next)
	for _, tli := range []TLI{3, 7, 8} {
		_, _, ok = threeTimes.SwitchPoint(tli)
		require.False(t, ok)
	}

	h, ok := threeTimes.Upto(5)
	require.True(t, ok)
	require.Equal(t, TimelineHistory{Last: 5, Ancestors: threeTimes.Ancestors[:2]}, h)
	h, ok = threeTimes.Upto(1)
	require.True(t, ok)
	require.True(t, h.Equal(TimelineHistory{Last: 1}))
	h, ok = threeTimes.Upto(7)
	require.True(t, ok)
	require.True(t, h.Equal(threeTimes))
	_, ok = threeTimes.Upto(6)
	require.False(t, ok)
}

func TestHistoryWithReasons(t *testing.T) {
	bare := TimelineHistory{Last: 7, Ancestors: []HistoryEntry{{TLI: 1, Switch: 0x3000000}, {TLI: 2, Switch: 0x5000030}, {TLI: 5, Switch: 0x5000030, Reason: "own"}}}
	got := bare.WithReasons(threeTimes)
	require.Equal(t, []HistoryEntry{
		{TLI: 1, Switch: 0x3000000, Reason: "no recovery target specified"}, {TLI: 2, Switch: 0x5000030}, {TLI: 5, Switch: 0x5000030, Reason: "own"},
	}, got.Ancestors)
	require.Empty(t, bare.Ancestors[0].Reason, "it is not changed")
	require.Equal(t, TimelineHistory{Last: 1}, TimelineHistory{Last: 1}.WithReasons(threeTimes))
}

func TestHistoryEqual(t *testing.T) {
	other := TimelineHistory{Last: 7, Ancestors: append([]HistoryEntry(nil), threeTimes.Ancestors...)}
	other.Ancestors[0].Reason = "another reason"
	require.True(t, threeTimes.Equal(other), "reasons are commentary")
	other.Ancestors[0].Switch++
	require.False(t, threeTimes.Equal(other))
	other.Ancestors[0] = threeTimes.Ancestors[0]
	other.Ancestors[2].TLI = 6
	require.False(t, threeTimes.Equal(other))
	require.False(t, threeTimes.Equal(TimelineHistory{Last: 7}))
	require.False(t, threeTimes.Equal(TimelineHistory{Last: 8, Ancestors: threeTimes.Ancestors}))
}

// TestUptoSharesNothingThatGrows: appending to an ancestor's history must not
// change the history that it was taken from.
func TestUptoSharesNothingThatGrows(t *testing.T) {
	h, _ := threeTimes.Upto(2)
	h.Ancestors = append(h.Ancestors, HistoryEntry{TLI: 2, Switch: 0x4000000})
	require.Equal(t, HistoryEntry{TLI: 2, Switch: 0x5000028, Reason: "before 2000-01-01 00:00:00+00"}, threeTimes.Ancestors[1])
}

func drawHistory(t *rapid.T) TimelineHistory {
	h := TimelineHistory{}
	var at LSN
	for range rapid.IntRange(0, 6).Draw(t, "n") {
		h.Last += TLI(rapid.Uint32Range(1, 1000).Draw(t, "tli"))
		at += LSN(rapid.Uint64Range(0, 1<<40).Draw(t, "switch"))
		reason := rapid.StringMatching(`[a-z0-9 #/:]{0,20}`).Draw(t, "reason")
		h.Ancestors = append(h.Ancestors, HistoryEntry{TLI: h.Last, Switch: at, Reason: reason})
	}
	h.Last += TLI(rapid.Uint32Range(1, 1000).Draw(t, "last"))
	return h
}

func TestHistoryProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t)
		require.True(t, h.Valid())
		back, err := ParseTimelineHistory(h.Last, h.Format())
		require.NoError(t, err)
		require.Equal(t, h, back)

		l := LSN(rapid.Uint64Range(0, 1<<43).Draw(t, "at"))
		tli := h.TLIAt(l)
		begin, ok := h.Begin(tli)
		require.True(t, ok)
		require.LessOrEqual(t, begin, l)
		if end, _, ok := h.SwitchPoint(tli); ok {
			require.Less(t, l, end)
		} else {
			require.Equal(t, h.Last, tli)
		}
	})
}

func FuzzParseTimelineHistory(f *testing.F) {
	f.Add(uint32(7), threeTimesFile)
	f.Add(uint32(3), "# x\n1\t0/3000000\n2\t0/4000000\twhy\r")
	f.Add(uint32(1), "")
	f.Fuzz(func(t *testing.T, tli uint32, content string) {
		h, err := ParseTimelineHistory(TLI(tli), []byte(content))
		if err != nil {
			return
		}
		require.True(t, h.Valid())
		back, err := ParseTimelineHistory(TLI(tli), h.Format())
		require.NoError(t, err)
		require.True(t, h.Equal(back))
		require.LessOrEqual(t, len(h.Ancestors), strings.Count(content, "\n")+1)
	})
}
