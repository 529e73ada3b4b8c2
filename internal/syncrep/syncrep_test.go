package syncrep_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/syncrep"
)

func TestLists(t *testing.T) {
	for value, want := range map[string]struct {
		list         syncrep.List
		takes, needs bool
		withAll      string
	}{
		"":                       {syncrep.List{}, false, false, "FIRST 1 (walhaven)"},
		"walhaven":               {syncrep.List{Count: 1, Names: []string{"walhaven"}}, true, true, "FIRST 1 (walhaven)"},
		"s1, Walhaven":           {syncrep.List{Count: 1, Names: []string{"s1", "Walhaven"}}, true, false, "FIRST 2 (walhaven, s1)"},
		"2 (s1,walhaven)":        {syncrep.List{Count: 2, Names: []string{"s1", "walhaven"}}, true, true, "FIRST 2 (walhaven, s1)"},
		"FIRST 1 (walhaven, s1)": {syncrep.List{Count: 1, Names: []string{"walhaven", "s1"}}, true, false, "FIRST 2 (walhaven, s1)"},
		"any\v2(s1\t,WALHAVEN)":  {syncrep.List{Any: true, Count: 2, Names: []string{"s1", "WALHAVEN"}}, true, true, "FIRST 2 (walhaven, s1)"},
		`ANY 1 ("a ""b"",c)", s1)`: {
			syncrep.List{Any: true, Count: 1, Names: []string{`a "b",c)`, "s1"}}, false, false, `FIRST 3 (walhaven, "a ""b"",c)", s1)`,
		},
		"*":                      {syncrep.List{Count: 1, Names: []string{"*"}}, true, false, "FIRST 1 (walhaven)"},
		`ANY 2 ("*", walhaven)`:  {syncrep.List{Any: true, Count: 2, Names: []string{"*", "walhaven"}}, true, false, "FIRST 1 (walhaven)"},
		`1, 2`:                   {syncrep.List{Count: 1, Names: []string{"1", "2"}}, false, false, `FIRST 3 (walhaven, "1", "2")`},
		"first_one, anyone":      {syncrep.List{Count: 1, Names: []string{"first_one", "anyone"}}, false, false, "FIRST 3 (walhaven, first_one, anyone)"},
		`"any", "", "a*", b$é`:   {syncrep.List{Count: 1, Names: []string{"any", "", "a*", "b$é"}}, false, false, `FIRST 5 (walhaven, "any", "", "a*", b$é)`},
		"s1, S1, walhaven2":      {syncrep.List{Count: 1, Names: []string{"s1", "S1", "walhaven2"}}, false, false, "FIRST 3 (walhaven, s1, walhaven2)"},
		"ANY 4294967297 (a, b)":  {syncrep.List{Any: true, Count: 1, Names: []string{"a", "b"}}, false, false, "FIRST 3 (walhaven, a, b)"},
		"FIRST 2 (walhaven, s1)": {syncrep.List{Count: 2, Names: []string{"walhaven", "s1"}}, true, true, "FIRST 2 (walhaven, s1)"},
	} {
		l, err := syncrep.Parse(value)
		require.NoError(t, err, value)
		require.Equal(t, want.list, l, value)
		require.Equal(t, want.takes, l.Takes("walhaven"), value)
		require.Equal(t, want.needs, l.Needs("walhaven"), value)
		require.Equal(t, want.withAll, l.WithAll("walhaven").String(), value)
		again, err := syncrep.Parse(l.String())
		require.NoError(t, err, value)
		require.Equal(t, l, again, value)
	}
}

// A commit waits for a standby while fewer others are there than it waits for, in
// whatever order they count.
func TestOthersDoInItsPlace(t *testing.T) {
	for value, enough := range map[string]int{
		"": 0, "walhaven": 1, "FIRST 2 (a, walhaven)": 2, "ANY 1 (a, walhaven)": 1, "any 2(a,b,walhaven)": 2, " ANY  10 (walhaven, *)": 10,
	} {
		l, err := syncrep.Parse(value)
		require.NoError(t, err)
		for others := range enough + 2 {
			require.Equal(t, others >= enough, l.DoesWithout(others), "%s with %d others", value, others)
		}
	}
}

func TestLevels(t *testing.T) {
	for level, waits := range map[string]bool{"on": true, "remote_apply": true, "remote_write": true, "local": false, "off": false, "": false} {
		require.Equal(t, waits, syncrep.Waits(level), level)
	}
}

// What is read is written so that it is read as the same.
func FuzzParse(f *testing.F) {
	for _, s := range append(taken, refused...) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := syncrep.Parse(s)
		if err != nil || s == "" {
			require.Zero(t, l)
			return
		}
		require.NotEmpty(t, l.Names)
		require.Positive(t, l.Count)
		again, err := syncrep.Parse(l.String())
		require.NoError(t, err, l.String())
		require.Equal(t, l, again)
		require.True(t, l.WithAll("walhaven").Needs("walhaven"))
	})
}

func TestWhoIsWaitedFor(t *testing.T) {
	other, two := []string{"OTHER"}, []string{"other", "other"}
	for _, c := range []struct {
		names       string
		others      []string
		there, away bool // whether commits wait for walhaven when it is connected, and when not
	}{
		{"", nil, false, false},
		{"walhaven", two, true, true},
		{"other", nil, false, false},
		{"walhaven, other", nil, true, true},
		{"walhaven, other", other, true, false},
		{"other, walhaven", nil, true, true},
		{"other, walhaven", other, false, false},
		{"2 (other, walhaven)", other, true, true},
		{"2 (other, walhaven)", two, false, false},
		{"FIRST 2 (walhaven, other, third)", []string{"third", "other"}, true, false},
		{"*", nil, true, true},
		{"*", other, false, false},
		{"ANY 1 (walhaven, other)", []string{"third"}, true, true},
		{"ANY 1 (walhaven, other)", other, false, false},
		{"ANY 2 (walhaven, other)", other, true, true},
		{"ANY 2 (walhaven, other)", two, false, false},
	} {
		list, err := syncrep.Parse(c.names)
		require.NoError(t, err)
		require.Equal(t, c.there, list.WaitsFor("walhaven", false, c.others), "%+v", c)
		require.Equal(t, c.away, list.WaitsFor("walhaven", true, c.others), "%+v", c)
	}
}
