package walrecord

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestIdentifyByVersion names what changed its name or meaning.
func TestIdentifyByVersion(t *testing.T) {
	for _, c := range []struct {
		rmid RmgrID
		info uint8
		want [5]string // 14 to 18
	}{
		{RmgrDatabase, 0x00, [5]string{"CREATE", "CREATE_FILE_COPY", "CREATE_FILE_COPY", "CREATE_FILE_COPY", "CREATE_FILE_COPY"}},
		{RmgrDatabase, 0x10, [5]string{"DROP", "CREATE_WAL_LOG", "CREATE_WAL_LOG", "CREATE_WAL_LOG", "CREATE_WAL_LOG"}},
		{RmgrDatabase, 0x20, [5]string{"UNKNOWN (20)", "DROP", "DROP", "DROP", "DROP"}},
		{RmgrHeap2, 0x10, [5]string{"PRUNE", "PRUNE", "PRUNE", "PRUNE_ON_ACCESS", "PRUNE_ON_ACCESS"}},
		{RmgrHeap2, 0x20, [5]string{"VACUUM", "VACUUM", "VACUUM", "PRUNE_VACUUM_SCAN", "PRUNE_VACUUM_SCAN"}},
		{RmgrHeap2, 0x30, [5]string{"FREEZE_PAGE", "FREEZE_PAGE", "FREEZE_PAGE", "PRUNE_VACUUM_CLEANUP", "PRUNE_VACUUM_CLEANUP"}},
		{RmgrXLOG, 0xE0, [5]string{"UNKNOWN (e0)", "UNKNOWN (e0)", "UNKNOWN (e0)", "CHECKPOINT_REDO", "CHECKPOINT_REDO"}},
	} {
		for i, want := range c.want {
			require.Equal(t, want, Identify(&Record{Major: 14 + i, RMID: c.rmid, Info: c.info}))
		}
		require.Equal(t, c.want[4], Identify(&Record{RMID: c.rmid, Info: c.info}), "0 is the newest version")
	}
}

func TestIdentifyBits(t *testing.T) {
	name := func(rmid RmgrID, info uint8) string { return Identify(&Record{Major: 18, RMID: rmid, Info: info}) }
	require.Equal(t, "COMMIT", name(RmgrTransaction, 0x00))
	require.Equal(t, "COMMIT", name(RmgrTransaction, 0x80), "the bit says that more follows")
	require.Equal(t, "INVALIDATION", name(RmgrTransaction, 0xE1))
	require.Equal(t, "UNKNOWN (f0)", name(RmgrTransaction, 0xF0))
	require.Equal(t, "HOT_UPDATE+INIT", name(RmgrHeap, 0xC0))
	require.Equal(t, "UNKNOWN (90)", name(RmgrHeap, 0x90), "DELETE never initialises")
	require.Equal(t, "MULTI_INSERT+INIT", name(RmgrHeap2, 0xD3))
	require.Equal(t, "INSERT+INIT", name(RmgrBRIN, 0x90))
	require.Equal(t, "Generic", name(RmgrGeneric, 0x50))
	require.Equal(t, "UNKNOWN (0)", name(RmgrGin, 0x00))
	require.Equal(t, "UNKNOWN (10)", name(200, 0x10))
}

func TestRmgrNames(t *testing.T) {
	require.Equal(t, "XLOG", RmgrName(0))
	require.Equal(t, "LogicalMessage", RmgrLogicalMessage.String())
	require.Equal(t, "unknown022", RmgrName(22))
	require.Equal(t, "custom128", RmgrName(128))
	for id, name := range rmgrNames {
		require.NotEmpty(t, name)
		require.True(t, len(opTables[id].ops) > 0 || RmgrID(id) == RmgrGeneric, name)
	}
}

// TestDetail shows the main data that descriptions translate.
func TestDetail(t *testing.T) {
	lsn := []byte{0x28, 0, 0, 1, 7, 0, 0, 0} // 7/1000028
	at := []byte{0, 0, 0, 0, 0, 0, 0, 0}
	for _, c := range []struct {
		rmid RmgrID
		info uint8
		main []byte
		want string
	}{
		{RmgrXLOG, 0x10, cat(lsn, []byte{2, 0, 0, 0, 1, 0, 0, 0}), " redo 7/1000028; tli 2; prev tli 1"},
		{RmgrXLOG, 0x30, []byte{0, 0x40, 0, 0}, " 16384"},
		{RmgrXLOG, 0x50, lsn, " 7/1000028"},
		{RmgrXLOG, 0x70, cat(at, []byte("before\x00junk")), " before"},
		{RmgrXLOG, 0x90, cat(at, []byte{2, 0, 0, 0, 1, 0, 0, 0}), " tli 2; prev tli 1; time 2000-01-01 00:00:00.000000 UTC"},
		{RmgrXLOG, 0xD0, cat(lsn, at), " lsn 7/1000028; time 2000-01-01 00:00:00.000000 UTC"},
		{RmgrXLOG, 0xD0, lsn, ""},
		{RmgrTransaction, 0x80, at, " 2000-01-01 00:00:00.000000 UTC"},
		{RmgrTransaction, 0x20, at, " 2000-01-01 00:00:00.000000 UTC"},
		{RmgrTransaction, 0x10, at, ""},
		{RmgrTransaction, 0x00, at[:7], ""},
		{RmgrStorage, 0x10, cat(relBytes, []byte{3, 0, 0, 0}), " rel 1663/5/16384 fork init"},
		{RmgrStorage, 0x20, cat(blockBytes, relBytes, []byte{7, 0, 0, 0}), " rel 1663/5/16384 to 9 blocks"},
		{RmgrHeap, 0x00, lsn, ""},
	} {
		r := Record{Major: 18, RMID: c.rmid, Info: c.info, MainData: c.main}
		require.Equal(t, c.want, string(appendDetail(nil, &r)), Identify(&r))
	}
}
