package admin

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
)

func testTable(t *testing.T) *Table {
	nothing := func(context.Context, *Call, Emit) error { return nil }
	table, err := NewTable(append(Standard(func(context.Context, any) ([]Setting, error) {
		return []Setting{{"server_version", "15.1", "The version."}, {"wal_segment_size", "16MB", ""}}, nil
	}),
		Command{Name: "SHOW TIMELINES", Columns: Text("name"), Handler: nothing, Help: "List."},
		Command{
			Name: "CREATE TIMELINE", Scope: ScopeAdmin, Changes: true, Handler: nothing, Help: "Create.",
			Args: []Arg{{Name: "tenant", Kind: KindHexID}, {Name: "timeline", Kind: KindHexID}},
			Options: []Arg{
				{Name: "name"},
				{Name: "start_lsn", Kind: KindLSN},
				{Name: "members", Optional: true},
				{Name: "joining", Kind: KindBool, Optional: true},
			},
		},
	)...)
	require.NoError(t, err)
	return table
}

const hexA, hexB = "0123456789abcdef0123456789abcdef", "00112233445566778899aabbccddeeff"

func TestLookup(t *testing.T) {
	table := testTable(t)
	for stmt, want := range map[string]string{
		"SHOW TIMELINES": "SHOW TIMELINES", "show  timelines ;": "SHOW TIMELINES", "show timeline": "SHOW",
		"SHOW ALL": "SHOW ALL", "show server_version": "SHOW", "HELP": "HELP", "help create timeline": "HELP",
		"select version()": "SELECT version()", "SELECT pg_catalog.version( )": "SELECT version()",
		"SHOW TRANSACTION ISOLATION LEVEL": "SHOW TRANSACTION ISOLATION LEVEL", "show transaction_read_only": "SHOW transaction_read_only",
	} {
		call, err := table.Lookup(stmt)
		require.NoError(t, err, stmt)
		require.Equal(t, want, call.Command.Name, stmt)
	}
	call, err := table.Lookup("create timeline " + hexA + " " + hexB + " (name 'main', start_lsn '0/1000028', members '1=127.0.0.1:5454,2=[::1]:5', joining)")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"tenant": hexA, "timeline": hexB}, call.Args)
	require.Equal(t, map[string]string{"name": "main", "start_lsn": "0/1000028", "members": "1=127.0.0.1:5454,2=[::1]:5", "joining": "true"}, call.Options)
	require.Equal(t, "create-timeline", call.Command.Path())
}

func TestLookupErrors(t *testing.T) {
	table := testTable(t)
	id := hexA + " " + hexB
	for stmt, want := range map[string]string{
		"SHOW":                  "42601 SHOW needs an argument <setting>",
		"SHOW a b":              `42601 syntax error at or near "b"`,
		"SHWO TIMELINES":        `0A000 unrecognized command "SHWO TIMELINES"`,
		"":                      `0A000 unrecognized command ""`,
		"'x'":                   `0A000 unrecognized command "'x'"`,
		"CREATE TIMELINE":       "42601 CREATE TIMELINE needs an argument <tenant>",
		"CREATE TIMELINE x y":   `22023 invalid value for <tenant>: "x"`,
		"CREATE TIMELINE " + id: `42601 CREATE TIMELINE needs an option "name"`,
		"CREATE TIMELINE " + id + " (name 'x', start_lsn 'z')":            `22023 invalid value for option "start_lsn": "z"`,
		"CREATE TIMELINE " + id + " (name 'x', name 'y')":                 `42601 duplicate option "name"`,
		"CREATE TIMELINE " + id + " (bogus 'x')":                          `42601 unrecognized option "bogus"`,
		"CREATE TIMELINE " + id + " (name 'x', start_lsn '0/1') trailing": `42601 syntax error at or near "trailing"`,
		"SHOW 'open": "42601 unterminated quoted string",
	} {
		_, err := table.Lookup(stmt)
		var e *Error
		require.ErrorAs(t, err, &e, stmt)
		require.Equal(t, want, e.Code+" "+e.Message, stmt)
	}
	_, err := table.Lookup("SHOW_TIMELINES")
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, `Perhaps you mean "SHOW TIMELINES". HELP lists the commands.`, e.Hint)
}

func TestKeywordArguments(t *testing.T) {
	table, err := NewTable(Command{
		Name: "SHOW PAGE", Handler: func(context.Context, *Call, Emit) error { return nil },
		Args: []Arg{
			{Name: "relation"},
			{Name: "fork", Keyword: "FORK", Optional: true},
			{Name: "block", Keyword: "BLOCK", Kind: KindUint32},
			{Name: "lsn", Keyword: "AT LSN", Kind: KindLSN, Optional: true},
			{Name: "time", Keyword: "AT TIME", Optional: true},
		},
	})
	require.NoError(t, err)
	for stmt, want := range map[string]map[string]string{
		"SHOW PAGE '1663/5/16384' BLOCK 7":                              {"relation": "1663/5/16384", "block": "7"},
		"show page '1' fork vm block '7' at lsn 0/5 ;":                  {"relation": "1", "fork": "vm", "block": "7", "lsn": "0/5"},
		"SHOW PAGE '1' AT TIME '2026-11-22 01:02:03+00' BLOCK 0":        {"relation": "1", "block": "0", "time": "2026-11-22 01:02:03+00"},
		"SHOW PAGE 'BLOCK' BLOCK 4294967295 AT LSN 'FFFFFFFF/FFFFFFFF'": {"relation": "BLOCK", "block": "4294967295", "lsn": "FFFFFFFF/FFFFFFFF"},
	} {
		call, err := table.Lookup(stmt)
		require.NoError(t, err, stmt)
		require.Equal(t, want, call.Args, stmt)
	}
	for stmt, want := range map[string]string{
		"SHOW PAGE":                          "42601 SHOW PAGE needs an argument <relation>",
		"SHOW PAGE '1'":                      "42601 SHOW PAGE needs an argument BLOCK <block>",
		"SHOW PAGE '1' BLOCK":                "42601 SHOW PAGE needs a value behind BLOCK",
		"SHOW PAGE '1' BLOCK x":              `22023 invalid value for <block>: "x"`,
		"SHOW PAGE '1' BLOCK 1 AT NOON":      `42601 syntax error at or near "AT"`,
		"SHOW PAGE '1' BLOCK 1 BLOCK 2":      `42601 syntax error at or near "BLOCK"`,
		"SHOW PAGE '1' BLOCK 1 AT LSN 'a'":   `22023 invalid value for <lsn>: "a"`,
		"SHOW PAGE '1' BLOCK 1 AT LSN 0/1 7": `42601 syntax error at or near "7"`,
	} {
		_, err := table.Lookup(stmt)
		var e *Error
		require.ErrorAs(t, err, &e, stmt)
		require.Equal(t, want, e.Code+" "+e.Message, stmt)
	}
	require.Equal(t, "SHOW PAGE <relation> [FORK <fork>] BLOCK <block> [AT LSN <lsn>] [AT TIME <time>]", table.Commands()[1].Usage())
}

func TestRunStandard(t *testing.T) {
	table := testTable(t)
	for stmt, want := range map[string][][]any{
		"SHOW wal_segment_size": {{"16MB"}},
		"SHOW wal-Segment_size": {{"16MB"}},
		"SELECT version()":      {{"PostgreSQL 15.1, served by walhaven"}},
		"SHOW ALL":              {{"server_version", "15.1", "The version."}, {"wal_segment_size", "16MB", ""}},
		"SHOW TIMELINES":        nil,
		"HELP SHOW TIMELINES":   {{"command", "SHOW TIMELINES", "List."}, {"scope", "any", ""}, {"column", "name", ""}},
	} {
		call, err := table.Lookup(stmt)
		require.NoError(t, err, stmt)
		rows, err := call.Rows(context.Background())
		require.NoError(t, err, stmt)
		require.Equal(t, want, rows, stmt)
	}
	call, err := table.Lookup("SHOW Nonsense")
	require.NoError(t, err)
	require.Equal(t, "nonsense", call.Columns()[0].Name)
	_, err = call.Rows(context.Background())
	require.EqualError(t, err, `unrecognized configuration parameter "Nonsense"`)
}

func TestRowsAreCounted(t *testing.T) {
	table, err := NewTable(Command{Name: "X", Columns: Text("a"), Handler: func(_ context.Context, _ *Call, emit Emit) error { return emit(1, 2) }})
	require.NoError(t, err)
	call, err := table.Lookup("X")
	require.NoError(t, err)
	_, err = call.Rows(context.Background())
	require.Error(t, err)
}

func TestTableMistakes(t *testing.T) {
	handler := func(context.Context, *Call, Emit) error { return nil }
	for name, commands := range map[string][]Command{
		"twice": {{Name: "A", Handler: handler}, {Name: "a", Handler: handler}}, "no handler": {{Name: "A"}}, "no name": {{Handler: handler}},
	} {
		_, err := NewTable(commands...)
		require.Error(t, err, name)
	}
}

func TestValues(t *testing.T) {
	var none []byte
	for _, tc := range []struct {
		value any
		text  string
		null  bool
	}{
		{nil, "", true},
		{none, "", true},
		{"x", "x", false},
		{[]byte("y"), "y", false},
		{true, "t", false},
		{false, "f", false},
		{-3, "-3", false},
		{uint64(1 << 63), "9223372036854775808", false},
		{int32(4), "4", false},
		{uint16(5), "5", false},
		{1.5, "1.5", false},
		{wal.LSN(0x1_0000_00AB), "1/AB", false},
		{wal.Term(7), "7", false},
		{wal.SegmentSize(16 << 20), "16MB", false},
		{wal.SystemID(9), "9", false},
		{Bytea{0, 0xab}, `\x00ab`, false},
		{Bytea{}, `\x`, false},
		{Bytea(nil), "", true},
	} {
		got, null, err := AppendValue([]byte("-"), tc.value)
		require.NoError(t, err)
		require.Equal(t, "-"+tc.text, string(got))
		require.Equal(t, tc.null, null)
	}
	_, _, err := AppendValue(nil, struct{}{})
	require.Error(t, err)
}

func TestParseSet(t *testing.T) {
	for stmt, want := range map[string]Assignment{
		"SET a TO b":                                   {Name: "a", Value: "b"},
		"set SESSION x.y = 'it''s'":                    {Name: "x.y", Value: "it's"},
		"SET search_path TO a, \"B\"":                  {Name: "search_path", Value: "a, B"},
		"SET x = -1":                                   {Name: "x", Value: "-1"},
		"SET x TO DEFAULT":                             {Name: "x", Default: true},
		"SET TIME ZONE 'UTC'":                          {Name: "TimeZone", Value: "UTC"},
		"SET TRANSACTION ISOLATION LEVEL SERIALIZABLE": {},
	} {
		got, err := ParseSet(stmt)
		require.NoError(t, err, stmt)
		require.Equal(t, want, got, stmt)
	}
}
