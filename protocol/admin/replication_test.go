package admin

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
)

// TestReplicationGrammar holds the commands that real clients were seen to
// send, and the forms of section 4.1 of the reference.
func TestReplicationGrammar(t *testing.T) {
	term := wal.Term(5)
	for query, want := range map[string]ReplicationCommand{
		"IDENTIFY_SYSTEM":                        IdentifySystem{},
		" \n IDENTIFY_SYSTEM ; ":                 IdentifySystem{},
		"SHOW data_directory_mode":               Show{Name: "data_directory_mode"},
		"SHOW Some.Setting":                      Show{Name: "some.setting"},
		`SHOW "Quoted"`:                          Show{Name: "Quoted"},
		"TIMELINE_HISTORY 2":                     TimelineHistory{TLI: 2},
		`READ_REPLICATION_SLOT "rw1"`:            ReadSlot{Slot: "rw1"},
		"DROP_REPLICATION_SLOT S2 WAIT":          DropSlot{Slot: "s2", Wait: true},
		`CREATE_REPLICATION_SLOT "rw1" PHYSICAL`: CreateSlot{Slot: "rw1"},
		"CREATE_REPLICATION_SLOT s3 TEMPORARY PHYSICAL RESERVE_WAL": CreateSlot{Slot: "s3", Temporary: true, ReserveWAL: true},
		"CREATE_REPLICATION_SLOT s PHYSICAL (RESERVE_WAL)": CreateSlot{
			Slot: "s", ReserveWAL: true,
			Options: []Option{{Name: "reserve_wal"}},
		},
		"CREATE_REPLICATION_SLOT s PHYSICAL (RESERVE_WAL false)": CreateSlot{
			Slot:    "s",
			Options: []Option{{Name: "reserve_wal", Value: "false", HasValue: true}},
		},
		`CREATE_REPLICATION_SLOT "lg" LOGICAL "test_decoding" ( SNAPSHOT 'nothing')`: CreateSlot{
			Slot: "lg", Logical: true,
			Plugin: "test_decoding", Options: []Option{{Name: "snapshot", Value: "nothing", HasValue: true}},
		},
		"CREATE_REPLICATION_SLOT lg LOGICAL pgoutput NOEXPORT_SNAPSHOT TWO_PHASE": CreateSlot{
			Slot: "lg", Logical: true,
			Plugin: "pgoutput", Options: []Option{{Name: "snapshot", Value: "nothing", HasValue: true}, {Name: "two_phase"}},
		},
		"ALTER_REPLICATION_SLOT s ( FAILOVER true )":         AlterSlot{Slot: "s", Options: []Option{{Name: "failover", Value: "true", HasValue: true}}},
		"START_REPLICATION 0/11000000 TIMELINE 1":            StartReplication{Start: 0x11000000, TLI: 1},
		"START_REPLICATION PHYSICAL 0/154E000":               StartReplication{Start: 0x154E000},
		`START_REPLICATION SLOT "rw1" 0/11000000 TIMELINE 1`: StartReplication{Slot: "rw1", Start: 0x11000000, TLI: 1},
		`START_REPLICATION SLOT "rw1"0/11000000`:             StartReplication{Slot: "rw1", Start: 0x11000000},
		"START_REPLICATION PHYSICAL 1/2 (term='5')": StartReplication{
			Start: 0x1_0000_0002, Term: &term,
			Options: []Option{{Name: "term", Value: "5", HasValue: true}},
		},
		`START_REPLICATION SLOT "lg" LOGICAL 0/0 ("proto_version" '1')`: StartReplication{
			Slot: "lg", Logical: true,
			Options: []Option{{Name: "proto_version", Value: "1", HasValue: true}},
		},
		"BASE_BACKUP": BaseBackup{},
		"BASE_BACKUP ( LABEL 'it''s',  PROGRESS,  CHECKPOINT 'fast',  WAIT 0,  MANIFEST 'yes' )": BaseBackup{Options: []Option{
			{"label", "it's", true}, {"progress", "", false}, {"checkpoint", "fast", true}, {"wait", "0", true}, {"manifest", "yes", true},
		}},
		"BASE_BACKUP LABEL 'x' PROGRESS FAST NOWAIT MAX_RATE 32 TABLESPACE_MAP": BaseBackup{Options: []Option{
			{"label", "x", true},
			{"progress", "", false},
			{"checkpoint", "fast", true},
			{"wait", "0", true},
			{"max_rate", "32", true},
			{"tablespace_map", "", false},
		}},
		"UPLOAD_MANIFEST":    UploadManifest{},
		"TIMELINE_STATUS":    TimelineStatus{},
		"WAL_DIGEST 0/1 1/0": WALDigest{Range: wal.Range{Start: 1, End: 1 << 32}},
		"identify_system":    nil,
		"SELECT 1":           nil,
		"":                   nil,
		"/* c */ SHOW x":     nil,
		"IDENTIFY_SYSTEMS":   nil,
		`"IDENTIFY_SYSTEM"`:  nil,
		"START_WAL_PUSHER":   nil,
	} {
		got, err := ParseReplication(query)
		require.NoError(t, err, query)
		require.Equal(t, want, got, query)
	}
}

func TestReplicationErrors(t *testing.T) {
	for query, want := range map[string]string{
		"IDENTIFY_SYSTEM x": "42601 syntax error",
		"SHOW wal_segment_size; SHOW data_directory_mode": "42601 syntax error",
		"SHOW":                  "42601 syntax error",
		"SHOW 'x'":              "42601 syntax error",
		"TIMELINE_HISTORY":      "42601 syntax error",
		"TIMELINE_HISTORY 0":    "42601 invalid timeline 0",
		"TIMELINE_HISTORY -1":   "42601 syntax error",
		"START_REPLICATION bad": "42601 syntax error",
		`START_REPLICATION SLOT "s3" bad TIMELINE 1`:                    "42601 syntax error",
		"START_REPLICATION 0/0 TIMELINE 99999999999":                    "42601 syntax error",
		"START_REPLICATION 0/0 TIMELINE 0":                              "42601 invalid timeline 0",
		"START_REPLICATION 0/123456789":                                 "42601 syntax error",
		"START_REPLICATION 0/0 (term='x')":                              `22023 invalid value for parameter "term": "x"`,
		"CREATE_REPLICATION_SLOT s":                                     "42601 syntax error",
		"CREATE_REPLICATION_SLOT s PHYSICAL (BOGUS)":                    "XX000 unrecognized option: bogus",
		"CREATE_REPLICATION_SLOT s PHYSICAL (TWO_PHASE)":                "42601 conflicting or redundant options",
		"CREATE_REPLICATION_SLOT s PHYSICAL (RESERVE_WAL, RESERVE_WAL)": "42601 conflicting or redundant options",
		"BASE_BACKUP ()":                                                "42601 syntax error",
		"BASE_BACKUP BOGUS":                                             "42601 syntax error",
		"BASE_BACKUP ( LABEL 'x'":                                       "42601 syntax error",
		"BASE_BACKUP LABEL 'x":                                          "42601 unterminated quoted string",
		"WAL_DIGEST 0/2 0/1":                                            "22023 start 0/2 lies behind end 0/1",
		"WAL_DIGEST 0/2":                                                "42601 syntax error",
		"START_WAL_PUSH (proto_version)":                                "42601 syntax error",
		"START_WAL_PUSH (proto_version 'x')":                            `22023 invalid value for parameter "proto_version": "x"`,
		"START_WAL_PUSH ()":                                             "42601 syntax error",
		"START_WAL_PUSH (a '1',)":                                       "42601 syntax error",
	} {
		_, err := ParseReplication(query)
		var e *Error
		require.ErrorAs(t, err, &e, query)
		require.Equal(t, want, e.Code+" "+e.Message, query)
	}
}

// TestStartWALPush begins with the bytes that computes send.
func TestStartWALPush(t *testing.T) {
	for query, want := range map[string]StartWALPush{
		"START_WAL_PUSH (proto_version '3', allow_timeline_creation 'true')": {
			ProtoVersion: 3, AllowTimelineCreation: true,
			Options: map[string]string{"proto_version": "3", "allow_timeline_creation": "true"},
		},
		"START_WAL_PUSH": {ProtoVersion: 2, AllowTimelineCreation: true, Options: map[string]string{}},
		"START_WAL_PUSH (proto_version 3, allow_timeline_creation false, walhaven '1', role 'pageserver', other 'x-y')": {
			ProtoVersion: 3, Walhaven: 1, Role: "pageserver", Options: map[string]string{
				"proto_version":           "3",
				"allow_timeline_creation": "false", "walhaven": "1", "role": "pageserver", "other": "x-y",
			},
		},
	} {
		got, err := ParseReplication(query)
		require.NoError(t, err, query)
		require.Equal(t, want, got, query)
	}
}

func TestSlotNames(t *testing.T) {
	require.NoError(t, CheckSlotName("walhaven_1"))
	for name, code := range map[string]string{
		"": "42602", "BAD": "42602", "with space": "42602", "0123456789012345678901234567890123456789012345678901234567890123": "42622",
	} {
		var e *Error
		require.ErrorAs(t, CheckSlotName(name), &e, name)
		require.Equal(t, code, e.Code)
	}
}
