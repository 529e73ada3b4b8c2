package walproposer

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/replication"
)

func lookAt(names, level string) replication.Row {
	return replication.Row{"names": names, "synchronous_commit": level, "sync_state": "sync", "others": "0"}
}

// Lapses are what the looks did not see, each once.
func TestLapses(t *testing.T) {
	well, none := lookAt("walhaven", "on"), lookAt("", "on")
	names := func(value string) change { return change{name: settingNames, value: value} }
	level := func(value string) change { return change{name: settingLevel, value: value} }
	const wasNone, wasOff = "synchronous_standby_names was ''", "synchronous_commit was off"
	type look struct {
		lines           []change
		row             replication.Row
		covered, behind bool
		want            []string
	}
	for name, looks := range map[string][]look{
		"nothing":              {{row: well}, {row: well}},
		"another safe value":   {{lines: []change{level("remote_apply"), level("on")}, row: well}},
		"taken back":           {{lines: []change{names(""), names("walhaven")}, row: well, want: []string{wasNone}}, {row: well}},
		"both":                 {{lines: []change{names(""), level("off"), names("walhaven"), level("on")}, row: well, want: []string{wasNone, wasOff}}},
		"twice":                {{lines: []change{names(""), names("walhaven"), names(""), names("walhaven")}, row: well, want: []string{wasNone}}},
		"over at the next":     {{lines: []change{level("off")}, row: well}, {row: well, want: []string{wasOff}}, {row: well}},
		"over at the next, II": {{lines: []change{level("off")}, row: well}, {lines: []change{level("on")}, row: well, want: []string{wasOff}}},
		"one over, one not":    {{lines: []change{level("off"), level("on"), names("")}, row: well, want: []string{wasOff}}, {row: none, covered: true}, {row: well}},
		"seen by the looks":    {{lines: []change{names("")}, row: none, covered: true}, {lines: []change{names("walhaven")}, row: well}},
		"seen late in the log": {{row: none, covered: true}, {lines: []change{names(""), names("x"), names("walhaven")}, row: well}},
		"again after it":       {{row: none, covered: true}, {lines: []change{names("walhaven"), level("off"), level("on")}, row: well, want: []string{wasOff}}},
		"again, and goes on":   {{row: none, covered: true}, {lines: []change{names("walhaven"), level("off")}, row: well}, {row: lookAt("walhaven", "off"), covered: true}},
		"not covered":          {{lines: []change{names(""), names("walhaven"), level("off")}, row: lookAt("walhaven", "off"), want: []string{wasNone, wasOff}}, {row: well}},
		"behind": {
			{lines: []change{names("")}, row: well, behind: true},
			{row: well, behind: true},
			{lines: []change{names("walhaven"), level("off")}, row: well, behind: true, want: []string{wasNone}},
			{lines: []change{level("on")}, row: well, want: []string{wasOff}},
		},
		"started with another": {
			{row: well},
			{lines: []change{names("walhaven"), level("on")}, row: well}, // late
			{row: well},
			{lines: []change{names("walhaven")}, row: well, want: []string{"synchronous_standby_names was not 'walhaven'"}},
			{row: well},
			{lines: []change{{name: settingLevel, value: "on", removed: true}}, row: well},
			{row: well},
			{lines: []change{level("on")}, row: well, want: []string{"synchronous_commit was not 'on'"}},
		},
		"the look knows better": {{lines: []change{names("ANY 1 (walhaven, other)")}, row: lookAt("ANY 1 (walhaven, other)", "on")}, {row: well}},
	} {
		l := new(lapses)
		for i, k := range looks {
			for _, c := range k.lines {
				l.line(c, nil, []string{"other"})
			}
			require.Equal(t, k.want, l.looked(k.row, k.covered, k.behind), "%s, look %d", name, i+1)
		}
	}
	require.Equal(t, "a, b, c, and 2 more for a while, according to PostgreSQL's log", lapseReason([]string{"a", "b", "c", "d", "e"}))
}

// Intervals that were over when they were noticed are in the file, and end no other one.
func TestLedgerOfThePast(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rpo.jsonl")
	at := func(s int64) time.Time { return time.Unix(s, 0).UTC() }
	l := newLedger(path)
	require.False(t, l.covers(at(9)))
	_, _, err := l.note(at(1), "", 0, 0)
	require.NoError(t, err)
	require.Equal(t, at(1), l.lastGood())
	_, _, err = l.note(at(2), "off", 90, 0)
	require.NoError(t, err)
	require.True(t, l.covers(at(1)))
	require.False(t, l.covers(at(0)), "it was well after that")
	for range 2 {
		_, err = l.past(Interval{Reason: "x", After: at(1), Began: at(2), From: 80, To: 95})
		require.NoError(t, err)
	}
	_, _, err = l.note(at(3), "", 0, 300)
	require.NoError(t, err)
	require.False(t, l.covers(at(9)))
	want := []Interval{
		{Reason: "off", After: at(1), Began: at(2), Ended: at(3), From: 90, To: 300},
		{Reason: "x", After: at(1), Began: at(2).Add(1), Ended: at(2), From: 80, To: 95},
		{Reason: "x", After: at(1), Began: at(2).Add(2), Ended: at(2), From: 80, To: 95},
	}
	for _, l := range []*ledger{l, newLedger(path)} {
		all, err := l.newest()
		require.NoError(t, err)
		require.Equal(t, want, all)
	}
	_, err = newLedger(t.TempDir()).past(Interval{Began: at(1)})
	require.Error(t, err)
}

func TestUnattended(t *testing.T) {
	row := replication.Row{"names": "FIRST 1 (walhaven, other)", "standbys": `["third"]`}
	require.Empty(t, unattended(row))
	row["standbys"] = `["third", "other"]`
	require.Contains(t, unattended(row), "FIRST 1 (walhaven, other)")
	row["names"] = "walhaven"
	require.Empty(t, unattended(row))
	require.Empty(t, standbysOf(replication.Row{}))
}

func TestWhatIsNotSeen(t *testing.T) {
	said := func(level string) string {
		return cancelledNotSeen + unreadable(replication.Row{"short_desc": englishDesc, "log_min_messages": level})
	}
	require.False(t, SettingsNotSeen(cancelledSeen))
	require.False(t, SettingsNotSeen(said("error")))
	require.False(t, SettingsNotSeen(said("log")))
	require.True(t, SettingsNotSeen(said("fatal")))
	require.True(t, SettingsNotSeen(cancelledNotSeen+errNoLog.Error()))
}
