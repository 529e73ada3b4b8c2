package admin

import (
	"strings"
	"testing"
)

// FuzzReplication checks that the grammar never panics, that what is a
// replication command by its first word gets an answer, and that a semicolon
// and blanks change nothing.
func FuzzReplication(f *testing.F) {
	for _, seed := range []string{
		"IDENTIFY_SYSTEM;", "SHOW wal_segment_size", "TIMELINE_HISTORY 2", `CREATE_REPLICATION_SLOT "rw1" TEMPORARY PHYSICAL ( RESERVE_WAL )`,
		`CREATE_REPLICATION_SLOT s LOGICAL "test_decoding" (SNAPSHOT 'nothing')`, "READ_REPLICATION_SLOT s", "DROP_REPLICATION_SLOT s WAIT",
		"ALTER_REPLICATION_SLOT s (FAILOVER false)", `START_REPLICATION SLOT "s" 0/11000000 TIMELINE 1`, "START_REPLICATION 0/1 (term='5')",
		"BASE_BACKUP ( LABEL 'it''s', PROGRESS, CHECKPOINT 'fast' )", "BASE_BACKUP LABEL 'x' NOWAIT MAX_RATE 32", "UPLOAD_MANIFEST",
		"START_WAL_PUSH (proto_version '3', allow_timeline_creation 'true')", "TIMELINE_STATUS", "WAL_DIGEST 0/1 0/2", "SHOW a.b /* c */ -- d",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		cmd, err := ParseReplication(query)
		if IsReplication(query) == (cmd == nil && err == nil) {
			t.Fatalf("%q: command %v, error %v", query, cmd, err)
		}
		if err == nil && cmd != nil && !strings.Contains(query, "--") && !strings.Contains(query, ";") {
			if _, err := ParseReplication("\n " + query + " ;"); err != nil {
				t.Fatalf("%q: with semicolon: %v", query, err)
			}
		}
	})
}

// FuzzPushOptions checks the option list of START_WAL_PUSH.
func FuzzPushOptions(f *testing.F) {
	for _, seed := range []string{
		"", "proto_version '3'", "proto_version 2, allow_timeline_creation false", "walhaven '1', role 'pageserver'",
		"unknown 'x'", "key", "proto_version '99999999999999999999'", "a '1', a '2'",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, options string) {
		cmd, err := ParseReplication("START_WAL_PUSH (" + options + ")")
		if err != nil {
			return
		}
		if push := cmd.(StartWALPush); push.Options == nil {
			t.Fatal("no map of options")
		}
	})
}

// FuzzSplit checks that statements are pieces of the query, in order, without
// blanks around them, and that splitting one again changes nothing.
func FuzzSplit(f *testing.F) {
	for _, seed := range []string{
		"", ";;", "SELECT 1; SELECT 2", "SELECT ';'; x", `a ";" b`, "E'\\';'; b", "$a$;$a$; $1", "-- ;\nx", "/* ; /* */ */ x", "'",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		list, err := Split(query)
		if err != nil {
			return
		}
		rest := query
		for _, stmt := range list {
			i := strings.Index(rest, stmt)
			if i < 0 || stmt == "" {
				t.Fatalf("%q is not a piece of %q", stmt, rest)
			}
			rest = rest[i+len(stmt):]
			again, err := Split(stmt)
			if err != nil || len(again) != 1 || again[0] != stmt {
				t.Fatalf("%q splits into %q, %v", stmt, again, err)
			}
		}
		HasParameters(query)
		Words(query, 3)
		_, _ = ParseSet(query)
		_, _, _ = ParseSetConfig(query)
	})
}
