package safekeeper

import (
	"errors"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/wal"
)

func memSlots(t *testing.T, fs vfs.FS) *slotSet {
	t.Helper()
	require.NoError(t, fs.MkdirAll("tl", 0o700))
	loaded, err := loadSlots(fs, "tl")
	require.NoError(t, err)
	return newSlotSet(loaded, saveSlots(fs, "tl"))
}

func TestSlotErrorsAreThoseOfPostgreSQL(t *testing.T) {
	s := memSlots(t, vfs.NewMem())
	require.NoError(t, s.create("rw1", false, 0, 7))
	for name, tc := range map[string]struct {
		err  error
		code string
		text string
	}{
		"exists":    {s.create("rw1", false, 0, 7), "42710", `replication slot "rw1" already exists`},
		"missing":   {s.drop(t.Context(), "nope", false), "42704", `replication slot "nope" does not exist`},
		"bad name":  {s.create("BAD", false, 0, 7), "42602", `replication slot name "BAD" contains invalid character`},
		"no name":   {s.create("", false, 0, 7), "42602", `replication slot name "" is too short`},
		"not there": {s.acquire("nope", 7), "42704", `replication slot "nope" does not exist`},
	} {
		require.Equal(t, tc.code, protocol.SQLState(tc.err), name)
		require.ErrorContains(t, tc.err, tc.text, name)
	}
	require.NoError(t, s.acquire("rw1", 7))
	require.ErrorContains(t, s.acquire("rw1", 8), `replication slot "rw1" is active for PID 7`)
	require.Equal(t, "55006", protocol.SQLState(s.drop(t.Context(), "rw1", false)))
	s.release("rw1", 8) // not the holder's
	require.Error(t, s.drop(t.Context(), "rw1", false))
	s.release("rw1", 7)
	require.NoError(t, s.drop(t.Context(), "rw1", false))
}

func TestPersistentSlotsSurviveRestart(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := memSlots(t, fs)
	require.NoError(t, s.create("keep", false, 0x1000000, 1))
	require.NoError(t, s.create("gone", true, 0x1000000, 1))
	s.confirm("keep", 0x2000000)
	require.NoError(t, s.persist())
	syncRoot(t, fs)

	again := memSlots(t, fs.CrashClone(vfs.CrashCloneCfg{}))
	sl, ok := again.read("keep")
	require.True(t, ok)
	require.Equal(t, wal.LSN(0x2000000), sl.restart)
	_, ok = again.read("gone")
	require.False(t, ok)
}

func syncRoot(t *testing.T, fs vfs.FS) {
	t.Helper()
	root, err := fs.OpenDir("")
	require.NoError(t, err)
	require.NoError(t, root.Sync())
	require.NoError(t, root.Close())
}

func TestSlotNeverMovesBack(t *testing.T) {
	s := memSlots(t, vfs.NewMem())
	require.NoError(t, s.create("s", false, 0x3000000, 1))
	s.confirm("s", 0x2000000)
	sl, _ := s.read("s")
	require.Equal(t, wal.LSN(0x3000000), sl.restart)
}

func TestTemporarySlotEndsWithItsSession(t *testing.T) {
	s := memSlots(t, vfs.NewMem())
	require.NoError(t, s.create("tmp", true, 5, 10))
	require.Equal(t, "55006", protocol.SQLState(s.acquire("tmp", 11)))
	require.NoError(t, s.acquire("tmp", 10))
	s.endSession(11)
	_, ok := s.read("tmp")
	require.True(t, ok)
	s.endSession(10)
	_, ok = s.read("tmp")
	require.False(t, ok)
}

func TestFailedSaveLeavesSlotsAsTheyWere(t *testing.T) {
	fail := errors.New("disk full")
	s := newSlotSet([]slot{{name: "old", restart: 10}}, func([]slot) error { return fail })
	require.ErrorIs(t, s.create("new", false, 0, 1), fail)
	_, ok := s.read("new")
	require.False(t, ok)
	require.ErrorIs(t, s.drop(t.Context(), "old", false), fail)
	_, ok = s.read("old")
	require.True(t, ok)
	_, err := s.invalidateBelow(20)
	require.ErrorIs(t, err, fail)
	sl, _ := s.read("old")
	require.False(t, sl.invalidated)
}

func TestInvalidatedSlotReservesNothing(t *testing.T) {
	s := memSlots(t, vfs.NewMem())
	require.NoError(t, s.create("far", false, 100, 1))
	require.NoError(t, s.create("near", false, 900, 1))
	names, err := s.invalidateBelow(500)
	require.NoError(t, err)
	require.Equal(t, []string{"far"}, names)
	lsn, ok := s.minRestart()
	require.True(t, ok)
	require.Equal(t, wal.LSN(900), lsn)
	require.Equal(t, "55000", protocol.SQLState(s.acquire("far", 1)))
}

// What a slot has confirmed but not on disk yet is still needed: a crash brings
// the slot back there.
func TestSlotReservesWhatIsOnDisk(t *testing.T) {
	var fail error
	s := newSlotSet([]slot{{name: "s", restart: 100}}, func([]slot) error { return fail })
	fail = syscall.ENOSPC
	s.confirm("s", 500)
	require.ErrorIs(t, s.persist(), fail)
	lsn, _ := s.minRestart()
	require.Equal(t, wal.LSN(100), lsn)
	fail = nil
	require.NoError(t, s.persist())
	lsn, _ = s.minRestart()
	require.Equal(t, wal.LSN(500), lsn)
}

// A slot that fills the disk is given up although that cannot be written down;
// a restart finds that its WAL has gone.
func TestFullDiskGivesUpSlots(t *testing.T) {
	fail := error(syscall.ENOSPC)
	var saved []slot
	save := func(slots []slot) error { saved = slots; return fail }
	s := newSlotSet([]slot{{name: "far", restart: 100}}, save)
	names, err := s.invalidateBelow(500)
	require.NoError(t, err)
	require.Equal(t, []string{"far"}, names)
	_, ok := s.minRestart()
	require.False(t, ok)
	fail = nil
	require.NoError(t, s.persist(), "it is written down when there is room again")
	require.True(t, saved[0].invalidated)

	again := newSlotSet([]slot{{name: "far", restart: 100}, {name: "near", restart: 400}}, save)
	again.removed(400)
	require.Equal(t, "55000", protocol.SQLState(again.acquire("far", 1)))
	require.NoError(t, again.acquire("near", 1))
}

func TestRetentionHorizon(t *testing.T) {
	base := retentionInput{commit: 1000, flush: 1100, truncate: 900, oldest: 100}
	with := func(f func(*retentionInput)) retentionInput { in := base; f(&in); return in }
	for name, tc := range map[string]struct {
		in   retentionInput
		want wal.LSN
	}{
		"slowest member":                     {base, 899},
		"horizon not known":                  {with(func(in *retentionInput) { in.truncate = 0 }), 100},
		"slot":                               {with(func(in *retentionInput) { in.slot, in.hasSlot = 300, true }), 300},
		"slot that lost its WAL":             {with(func(in *retentionInput) { in.slot, in.hasSlot = 50, true }), 100},
		"pageserver":                         {with(func(in *retentionInput) { in.pageservers = []wal.LSN{800, 400} }), 400},
		"pageserver never heard":             {with(func(in *retentionInput) { in.pageservers = []wal.LSN{800, 0} }), 100},
		"member that lags too far":           {with(func(in *retentionInput) { in.truncate, in.limit = 200, 600 }), 600},
		"member within the limit":            {with(func(in *retentionInput) { in.limit = 600 }), 899},
		"a member is filled from here":       {with(func(in *retentionInput) { in.filling = 700 }), 700},
		"and lags too far":                   {with(func(in *retentionInput) { in.filling, in.limit = 200, 600 }), 600},
		"commit below horizon":               {with(func(in *retentionInput) { in.commit = 500 }), 500},
		"keep size":                          {with(func(in *retentionInput) { in.keepSize = 250 }), 750},
		"keep size above all":                {with(func(in *retentionInput) { in.keepSize = 5000 }), 100},
		"flush below commit (after a crash)": {with(func(in *retentionInput) { in.flush = 200 }), 200},
	} {
		require.Equal(t, tc.want, retentionHorizon(tc.in), name)
	}
}

func TestDropWaitsForTheStream(t *testing.T) {
	s := memSlots(t, vfs.NewMem())
	require.NoError(t, s.create("s", false, 0, 1))
	require.NoError(t, s.acquire("s", 1))
	dropped := make(chan error)
	go func() { dropped <- s.drop(t.Context(), "s", true) }()
	select {
	case err := <-dropped:
		t.Fatal("dropped an active slot:", err)
	default:
	}
	s.release("s", 1)
	require.NoError(t, <-dropped)
	_, ok := s.read("s")
	require.False(t, ok)
}
