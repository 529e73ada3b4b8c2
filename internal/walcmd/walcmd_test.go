package walcmd

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/admin"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walstore"
)

var (
	tenantA   = wal.TenantID{1}
	tenantB   = wal.TenantID{2}
	timelineX = wal.TimelineID{3}
	timelineY = wal.TimelineID{4}
)

func TestTargetOf(t *testing.T) {
	session := func(options map[string]string, tenant *wal.TenantID) *protocol.Session {
		return &protocol.Session{Options: options, Identity: protocol.Identity{User: "u", Tenant: tenant}}
	}
	target, err := TargetOf(session(map[string]string{"ztenantid": tenantA.String(), "timeline_id": "main"}, nil))
	require.NoError(t, err)
	require.Equal(t, Target{Tenant: tenantA.String(), Timeline: "main"}, target)

	target, err = TargetOf(session(nil, &tenantB))
	require.NoError(t, err)
	require.Equal(t, tenantB.String(), target.Tenant, "the restriction fills in what was not said")

	_, err = TargetOf(session(map[string]string{"tenant_id": tenantA.String()}, &tenantB))
	require.Equal(t, "42501", protocol.SQLState(err))
	_, err = TargetOf(session(map[string]string{"tenant_id": "xyz"}, nil))
	require.Equal(t, "22023", protocol.SQLState(err))
}

func TestChoose(t *testing.T) {
	all := []Candidate{
		{ID: wal.TTID{Tenant: tenantA, Timeline: timelineX}, Name: "main"},
		{ID: wal.TTID{Tenant: tenantA, Timeline: timelineY}, Name: "test"},
		{ID: wal.TTID{Tenant: tenantB, Timeline: timelineX}, Name: "main"},
	}
	for name, tc := range map[string]struct {
		target     Target
		candidates []Candidate
		index      int
		found      bool
		ambiguous  bool
	}{
		"the only one":    {Target{}, all[:1], 0, true, false},
		"none":            {Target{}, nil, 0, false, false},
		"by name":         {Target{Timeline: "test"}, all, 1, true, false},
		"by both":         {Target{Tenant: tenantB.String(), Timeline: "main"}, all, 2, true, false},
		"by ID":           {Target{Tenant: tenantA.String(), Timeline: timelineY.String()}, all, 1, true, false},
		"by tenant alone": {Target{Tenant: tenantB.String()}, all, 2, true, false},
		"not there":       {Target{Timeline: "nope"}, all, 0, false, false},
		"two of a name":   {Target{Timeline: "main"}, all, 0, false, true},
		"several":         {Target{}, all, 0, false, true},
	} {
		i, found, err := tc.target.Choose(tc.candidates)
		require.Equal(t, tc.ambiguous, err != nil, name)
		require.Equal(t, tc.found, found && err == nil, name)
		if tc.found {
			require.Equal(t, tc.index, i, name)
		}
	}
}

func TestAnswersHaveTheColumnsThatClientsDemand(t *testing.T) {
	h := wal.TimelineHistory{Last: 2, Ancestors: []wal.HistoryEntry{{TLI: 1, Switch: 0x2100FF00, Reason: "no recovery target specified"}}}
	for version, oid := range map[uint32]uint32{150020: admin.TypeInt4, 160004: admin.TypeInt8} {
		r := IdentifySystem(walstore.Control{SystemID: 7, PGVersion: version}, h, 0x3000000)
		require.Equal(t, [][]any{{"7", uint32(2), "0/3000000", nil}}, r.Rows)
		require.Equal(t, oid, r.Columns[1].Type)
		require.Equal(t, "IDENTIFY_SYSTEM", r.Tag)
	}
	r, err := TimelineHistory(h, 2)
	require.NoError(t, err)
	require.Equal(t, [][]any{{"00000002.history", []byte("1\t0/2100FF00\tno recovery target specified\n")}}, r.Rows)
	for _, tli := range []wal.TLI{1, 5} {
		_, err := TimelineHistory(h, tli)
		require.Equal(t, "58P01", protocol.SQLState(err))
	}
	require.Len(t, CreateSlot("s").Columns, 4)
	require.Equal(t, [][]any{{nil, nil, nil}}, ReadSlot(false, 0, h).Rows)
	require.Equal(t, [][]any{{"physical", nil, nil}}, ReadSlot(true, 0, h).Rows)
	require.Equal(t, [][]any{{"physical", "0/22000000", uint32(2)}}, ReadSlot(true, 0x22000000, h).Rows)
	require.Equal(t, [][]any{{"physical", "0/1000000", uint32(1)}}, ReadSlot(true, 0x1000000, h).Rows)
	for _, cmd := range []admin.ReplicationCommand{admin.IdentifySystem{}, admin.TimelineHistory{}, admin.CreateSlot{}, admin.ReadSlot{}} {
		require.NotEmpty(t, ColumnsOf(cmd))
	}
	require.Nil(t, ColumnsOf(admin.DropSlot{}))
}

func TestRefusals(t *testing.T) {
	for cmd, code := range map[admin.ReplicationCommand]string{
		admin.UploadManifest{}: "0A000",
		admin.ReadSlot{}:       "0A000",
	} {
		require.Equal(t, code, protocol.SQLState(Refused(cmd)))
	}
	require.Equal(t, "55000", protocol.SQLState(Refused(admin.CreateSlot{Logical: true})))
	require.Equal(t, "0A000", protocol.SQLState(Refused(admin.BaseBackup{})))
}

func TestShowAndStatusAreTheTables(t *testing.T) {
	for stmt, streaming := range map[string]bool{
		"IDENTIFY_SYSTEM": true, "START_REPLICATION 0/0": true, "SHOW wal_segment_size": false, "TIMELINE_STATUS": false,
		"WAL_DIGEST 0/0 0/8":                        false,
		"SHOW PAGE '1663/5/1' BLOCK 0 AT LSN '0/8'": false, "SHOW RELATIONS AT LSN '0/8'": false,
		"SHOW TRANSACTION ISOLATION LEVEL": false, "HELP": false, "SELECT 1": false,
	} {
		cmd, err := ParseStreaming(stmt)
		require.NoError(t, err, stmt)
		require.Equal(t, streaming, cmd != nil, stmt)
	}
	_, err := ParseStreaming("START_REPLICATION nonsense")
	require.Equal(t, "42601", protocol.SQLState(err))
}

func TestServerVersion(t *testing.T) {
	require.Equal(t, "15.20", ServerVersion(150020))
	require.Equal(t, "18.0", ServerVersion(180000))
}
