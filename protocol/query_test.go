package protocol_test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol"
)

func TestSimpleQuery(t *testing.T) {
	h := newTestHandler(t)
	addr := serve(t, h, protocol.Options{})
	for sql, want := range map[string]string{
		"SELECT version()":               "T D C(SELECT 1) ZI",
		"SHOW TIMELINES;":                "T D D D C(SELECT 3) ZI",
		"show timelines":                 "T D D D C(SELECT 3) ZI",
		"SELECT 1; SHOW server_version;": "T D C(SELECT 1) T D C(SHOW) ZI",
		"":                               "I ZI",
		" ; ;":                           "I ZI",
		"-- ping":                        "I ZI",
		"/* a /* nested */ */ -- x":      "I ZI",
		"/* c */ SELECT 1 -- end":        "T D C(SELECT 1) ZI",
		"FAIL":                           "E(ERROR 55000) ZI",
		"SELECT 1; FAIL; SELECT 1":       "T D C(SELECT 1) E(ERROR 55000) ZI",
		"BOGUS":                          "E(ERROR 0A000) ZI",
		"SELECT 'open":                   "E(ERROR 42601) ZI",
		"SHOW nonsense":                  "E(ERROR 42704) ZI",
		"IDENTIFY_SYSTEM":                "T D C(IDENTIFY_SYSTEM) ZI",
		"HELP":                           "T D D D D D D D C(SELECT 7) ZI",
		// What drivers send around their work.
		"BEGIN; SELECT 1; COMMIT":                                "C(BEGIN) T D C(SELECT 1) C(COMMIT) ZI",
		"BEGIN":                                                  "C(BEGIN) ZT",
		"START TRANSACTION READ ONLY; ROLLBACK":                  "C(START TRANSACTION) C(ROLLBACK) ZI",
		"BEGIN; FAIL":                                            "C(BEGIN) E(ERROR 55000) ZE",
		"SET datestyle TO 'ISO'":                                 "C(SET) S ZI",
		"SET DATESTYLE = ISO, DMY":                               "C(SET) S ZI",
		"SET extra_float_digits = 3":                             "C(SET) ZI",
		"SET application_name TO 'x'":                            "C(SET) S ZI",
		"SET client_encoding TO 'UTF8'":                          "C(SET) S ZI",
		"SET NAMES 'utf-8'":                                      "C(SET) S ZI",
		"SET client_encoding TO 'LATIN1'":                        "E(ERROR 22023) ZI",
		"SET standard_conforming_strings TO off":                 "E(ERROR 22023) ZI",
		"SET statement_timeout = 0":                              "C(SET) ZI",
		"SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY":   "C(SET) ZI",
		"SET LOCAL TIME ZONE 'UTC'":                              "C(SET) S ZI",
		"SET":                                                    "E(ERROR 42601) ZI",
		"SET x":                                                  "E(ERROR 42601) ZI",
		"SET x TO DEFAULT":                                       "C(SET) ZI",
		"RESET ALL; DISCARD ALL; DEALLOCATE ALL":                 "C(RESET) C(DISCARD ALL) C(DEALLOCATE ALL) ZI",
		"UNLISTEN *; CLOSE ALL; SAVEPOINT a; RELEASE a":          "C(UNLISTEN) C(CLOSE CURSOR) C(SAVEPOINT) C(RELEASE) ZI",
		"SHOW transaction isolation level":                       "T D C(SHOW) ZI",
		"select pg_catalog.set_config('search_path', '', false)": "T D C(SELECT 1) ZI",
	} {
		t.Run(sql, func(t *testing.T) {
			c := dialRaw(t, addr)
			c.start()
			require.Equal(t, want, shape(c.query(sql)))
		})
	}
}

func TestErrorFields(t *testing.T) {
	c := dialRaw(t, serve(t, newTestHandler(t), protocol.Options{}))
	c.start()
	require.Equal(t, map[byte]string{
		'S': "ERROR", 'V': "ERROR", 'C': "55000", 'M': "it failed", 'D': "A detail.", 'H': "A hint.",
	}, c.query("FAIL")[0].fields())
	c.write(frame('Q', "FAIL fatal\x00"))
	require.Equal(t, "FATAL", c.receive().fields()['S'])
	c.expectClosed()
}

// The end of a file that a handler reads is not the end of the connection.
func TestAnswersAboutFilesThatEnd(t *testing.T) {
	c := dialRaw(t, serve(t, newTestHandler(t), protocol.Options{}))
	c.start()
	require.Equal(t, "E(ERROR XX001) ZI", shape(c.query("READ")))
	require.Equal(t, "T D C(SELECT 1) ZI", shape(c.query("SELECT 1")))
}

func TestFailedTransaction(t *testing.T) {
	c := dialRaw(t, serve(t, newTestHandler(t), protocol.Options{}))
	c.start()
	for _, step := range [][2]string{
		{"BEGIN", "C(BEGIN) ZT"},
		{"SAVEPOINT s", "C(SAVEPOINT) ZT"},
		{"FAIL", "E(ERROR 55000) ZE"},
		{"SELECT 1", "E(ERROR 25P02) ZE"},
		{"ROLLBACK TO s", "C(ROLLBACK) ZT"},
		{"SELECT 1", "T D C(SELECT 1) ZT"},
		{"FAIL", "E(ERROR 55000) ZE"},
		{"COMMIT", "C(ROLLBACK) ZI"},
		{"SELECT 1", "T D C(SELECT 1) ZI"},
	} {
		require.Equal(t, step[1], shape(c.query(step[0])), step[0])
	}
}

func TestParameterIsReportedBack(t *testing.T) {
	c := dialRaw(t, serve(t, newTestHandler(t), protocol.Options{}))
	c.start()
	require.Equal(t, map[string]string{"application_name": "x y"}, parameters(c.query("SET Application_Name = 'x y'")))
	answer := c.query("SHOW application_name")
	require.Contains(t, string(answer[1].body), "x y")
	c.query("SET foo.bar TO 'v'")
	require.Contains(t, string(c.query("SHOW foo.bar")[1].body), "v")
}

// TestPhysicalSession pins section 4.1: replication commands only, one a query.
func TestPhysicalSession(t *testing.T) {
	addr := serve(t, newTestHandler(t), protocol.Options{})
	for sql, want := range map[string]string{
		"IDENTIFY_SYSTEM":                                 "T D C(IDENTIFY_SYSTEM) ZI",
		"\n IDENTIFY_SYSTEM ; ":                           "T D C(IDENTIFY_SYSTEM) ZI",
		"SHOW wal_segment_size":                           "T D C(SHOW) ZI",
		"SHOW wal_segment_size; SHOW data_directory_mode": "E(ERROR 42601) ZI",
		"identify_system":                                 "E(ERROR 0A000) ZI",
		"SELECT 1":                                        "E(ERROR 0A000) ZI",
		"BEGIN":                                           "E(ERROR 0A000) ZI",
		"":                                                "E(ERROR 0A000) ZI",
		";":                                               "E(ERROR 0A000) ZI",
		"-- comment":                                      "E(ERROR 0A000) ZI",
		"/* c */ IDENTIFY_SYSTEM":                         "E(ERROR 0A000) ZI",
		"TIMELINE_HISTORY 0":                              "E(ERROR 42601) ZI",
		"CREATE_REPLICATION_SLOT s PHYSICAL (BOGUS)": "E(ERROR XX000) ZI",
	} {
		t.Run(sql, func(t *testing.T) {
			c := dialRaw(t, addr)
			c.start("replication", "true", "database", "replication")
			require.Equal(t, want, shape(c.query(sql)))
		})
	}
}

func TestDatabaseSession(t *testing.T) {
	c := dialRaw(t, serve(t, newTestHandler(t), protocol.Options{}))
	c.start("replication", "database", "database", "db")
	require.Equal(t, "T D C(SELECT 1) ZI", shape(c.query("SELECT pg_catalog.set_config('search_path', '', false);")))
	answer := c.query("IDENTIFY_SYSTEM")
	require.Contains(t, string(answer[1].body), "db")
	require.Equal(t, "T D C(SELECT 1) C(BEGIN) ZT", shape(c.query("SELECT 1; BEGIN")))
}

// extended builds messages of the extended protocol.
func parseMessage(name, sql string) []byte { return frame('P', name+"\x00"+sql+"\x00\x00\x00") }

func bindMessage(portal, name string, formats ...uint16) []byte {
	body := []byte(portal + "\x00" + name + "\x00\x00\x00\x00\x00")
	body = binary.BigEndian.AppendUint16(body, uint16(len(formats)))
	for _, f := range formats {
		body = binary.BigEndian.AppendUint16(body, f)
	}
	return frame('B', string(body))
}

func executeMessage(portal string, rows uint32) []byte {
	return frame('E', portal+"\x00"+string(binary.BigEndian.AppendUint32(nil, rows)))
}

func TestExtendedQuery(t *testing.T) {
	addr := serve(t, newTestHandler(t), protocol.Options{})
	sync := frame('S', "")
	describeS, describeP := frame('D', "S\x00"), frame('D', "P\x00")
	for _, tc := range []struct {
		name string
		send [][]byte
		want string
	}{
		{
			"pgx",
			[][]byte{parseMessage("", "SHOW TIMELINES"), describeS, bindMessage("", "", 1), describeP, executeMessage("", 0), sync},
			"1 t T 2 T D D D C(SELECT 3) ZI",
		},
		{
			"no describe",
			[][]byte{parseMessage("", "SELECT 1"), bindMessage("", ""), executeMessage("", 0), sync},
			"1 2 D C(SELECT 1) ZI",
		},
		{
			"no rows",
			[][]byte{parseMessage("", "SET a = 1"), describeS, bindMessage("", ""), describeP, executeMessage("", 0), sync},
			"1 t n 2 n C(SET) ZI",
		},
		{
			"set_config",
			[][]byte{parseMessage("", "SELECT set_config('a', 'b', false)"), describeS, bindMessage("", ""), executeMessage("", 1), sync},
			"1 t T 2 D C(SELECT 1) ZI",
		},
		{
			"empty",
			[][]byte{parseMessage("", "-- x"), describeS, bindMessage("", ""), executeMessage("", 0), sync},
			"1 t n 2 I ZI",
		},
		{
			"in pieces",
			[][]byte{parseMessage("", "SHOW TIMELINES"), bindMessage("p", ""), executeMessage("p", 2), executeMessage("p", 2), executeMessage("p", 2), sync},
			"1 2 D D s D C(SELECT 3) C(SELECT 3) ZI",
		},
		{
			"error skips to Sync",
			[][]byte{parseMessage("", "SHOW nonsense"), bindMessage("", ""), executeMessage("", 0), parseMessage("x", "SELECT 1"), frame('Q', "SELECT 1\x00"), sync},
			"1 2 E(ERROR 42704) ZI",
		},
		{"unknown command", [][]byte{parseMessage("", "BOGUS"), describeS, sync}, "1 E(ERROR 0A000) ZI"},
		{"two commands", [][]byte{parseMessage("", "SELECT 1; SELECT 1"), sync}, "E(ERROR 42601) ZI"},
		{"parameters", [][]byte{parseMessage("", "SHOW $1"), sync}, "E(ERROR 0A000) ZI"},
		{"dollar in quotes", [][]byte{parseMessage("", "SET a = '$1'"), sync}, "1 ZI"},
		{"name twice", [][]byte{parseMessage("a", "SELECT 1"), parseMessage("a", "SELECT 1"), sync}, "1 E(ERROR 42P05) ZI"},
		{"closed", [][]byte{parseMessage("a", "SELECT 1"), frame('C', "Sa\x00"), bindMessage("", "a"), sync}, "1 3 E(ERROR 26000) ZI"},
		{"no portal", [][]byte{executeMessage("x", 0), sync}, "E(ERROR 34000) ZI"},
		{
			"portals end with Sync",
			[][]byte{parseMessage("", "SELECT 1"), bindMessage("p", ""), sync, executeMessage("p", 0), sync},
			"1 2 ZI E(ERROR 34000) ZI",
		},
		{"wrong formats", [][]byte{parseMessage("", "SHOW TIMELINES"), bindMessage("", "", 0, 1), sync}, "1 E(ERROR 08P01) ZI"},
		{"unknown format", [][]byte{parseMessage("", "SHOW TIMELINES"), bindMessage("", "", 2), sync}, "1 E(ERROR 22023) ZI"},
		{"bad Bind", [][]byte{frame('B', "\x00\x00\x00\x00\x00\x01\xff\xff\xff\xf0\x00\x00"), sync}, "E(ERROR 08P01) ZI"},
		{"streaming", [][]byte{parseMessage("", "SHOW TIMELINES"), frame('H', ""), sync}, "1 ZI"},
		{"function call", [][]byte{frame('F', "x")}, "E(ERROR 0A000) ZI"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := dialRaw(t, addr)
			c.start()
			for _, m := range tc.send {
				c.write(m)
			}
			var got []message
			for range strings.Count(tc.want, "Z") {
				got = append(got, c.until('Z')...)
			}
			require.Equal(t, tc.want, shape(got))
		})
	}
}

// TestFormatsAreHonoured checks that the description repeats what Bind asked
// for, and that both formats of a text column are the same bytes.
func TestFormatsAreHonoured(t *testing.T) {
	c := dialRaw(t, serve(t, newTestHandler(t), protocol.Options{}))
	c.start()
	c.write(parseMessage("", "SHOW TIMELINES"))
	var rows [2][]byte
	for format := range uint16(2) {
		for _, m := range [][]byte{bindMessage("", "", format), frame('D', "P\x00"), executeMessage("", 1), frame('S', "")} {
			c.write(m)
		}
		for _, m := range c.until('Z') {
			switch m.tag {
			case 'T':
				require.Equal(t, []byte{0, 0, 0, 25, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, byte(format)}, m.body[len(m.body)-12:])
			case 'D':
				rows[format] = m.body
			}
		}
	}
	require.NotEmpty(t, rows[0])
	require.Equal(t, rows[0], rows[1])
}

func TestExtendedRefusedForReplication(t *testing.T) {
	addr := serve(t, newTestHandler(t), protocol.Options{})
	for _, mode := range []string{"true", "database"} {
		c := dialRaw(t, addr)
		c.start("replication", mode)
		c.write(parseMessage("", "IDENTIFY_SYSTEM"))
		c.write(bindMessage("", ""))
		c.write(frame('S', ""))
		got := c.until('Z')
		require.Equal(t, "E(ERROR 08P01) ZI", shape(got))
		require.Equal(t, "extended query protocol not supported in a replication connection", got[0].fields()['M'])
	}
}

func TestLimits(t *testing.T) {
	addr := serve(t, newTestHandler(t), protocol.Options{MaxQuery: 1000})
	for name, bytes := range map[string][]byte{
		"unknown type":       frame('~', ""),
		"type of the server": frame('R', "1234"),
		"long query":         frame('Q', strings.Repeat("x", 1001)),
		"huge length alone":  {'Q', 0x7f, 0xff, 0xff, 0xff},
		"negative length":    {'Q', 0xff, 0xff, 0xff, 0xff},
		"length 3":           {'Q', 0, 0, 0, 3},
		"long Sync":          frame('S', strings.Repeat("x", 10_001)),
	} {
		t.Run(name, func(t *testing.T) {
			c := dialRaw(t, addr)
			c.start()
			c.write(bytes)
			f := c.receive().fields()
			require.Equal(t, "FATAL 08P01", f['S']+" "+f['C'])
			c.expectClosed()
		})
	}
	t.Run("empty Query message", func(t *testing.T) {
		c := dialRaw(t, addr)
		c.start()
		c.write(frame('Q', ""))
		require.Equal(t, "E(ERROR 08P01) ZI", shape(c.until('Z')))
	})
}

func TestCancel(t *testing.T) {
	h := newTestHandler(t)
	addr := serve(t, h, protocol.Options{})
	c := dialRaw(t, addr)
	greeting := c.start()
	key := greeting[len(greeting)-2].body
	c.write(frame('Q', "WAIT\x00"))
	<-h.running
	wrong := append([]byte{}, key...)
	wrong[7] ^= 1
	for _, k := range [][]byte{wrong, key} {
		canceller := dialRaw(t, addr)
		canceller.write(untyped(cancelRequest, string(k)))
		canceller.expectClosed()
	}
	require.Equal(t, "E(ERROR 57014) ZI", shape(c.until('Z')))
	// One that comes between commands does nothing to the next.
	late := dialRaw(t, addr)
	late.write(untyped(cancelRequest, string(key)))
	late.expectClosed()
	require.Equal(t, "T D C(SELECT 1) ZI", shape(c.query("SELECT 1")))
}

// shortWrites is how long a client may take nothing: short for a test that waits for
// it, and far above what a server that has something to say takes to say it.
const shortWrites = time.Second

// TestClientThatDoesNotRead gives up on one that takes no answer.
func TestClientThatDoesNotRead(t *testing.T) {
	h := newTestHandler(t)
	c := dialRaw(t, serve(t, h, protocol.Options{WriteTimeout: shortWrites}))
	c.start()
	c.write(frame('Q', "MANY 100000\x00"))
	require.Eventually(t, func() bool { return h.ended.Load() == 1 }, testTimeout, time.Millisecond)
}

func TestStatementLimits(t *testing.T) {
	c := dialRaw(t, serve(t, newTestHandler(t), protocol.Options{}))
	c.start()
	for i := range 2049 {
		c.write(parseMessage(fmt.Sprint(i), "SELECT 1"))
	}
	c.write(frame('S', ""))
	got := c.until('Z')
	require.Equal(t, "E(ERROR 53400) ZI", shape(got[len(got)-2:]))
	require.Equal(t, "C(DISCARD ALL) ZI", shape(c.query("DISCARD ALL")))
	c.write(parseMessage("again", "SELECT 1"))
	c.write(frame('S', ""))
	require.Equal(t, "1 ZI", shape(c.until('Z')))
}

func TestBigResult(t *testing.T) {
	c := dialRaw(t, serve(t, newTestHandler(t), protocol.Options{}))
	c.start()
	require.Len(t, c.query("MANY 3000"), 3000+3)
}
