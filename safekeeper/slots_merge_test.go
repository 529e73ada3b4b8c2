package safekeeper

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
)

// told is what a member says of its slots.
func told(s *slotSet) (out []slot) {
	for _, id := range s.dropped() {
		out = append(out, slot{id: id, dropped: true})
	}
	return append(out, s.list()...)
}

func restartOf(t *testing.T, s *slotSet, name string) wal.LSN {
	t.Helper()
	sl, found := s.read(name)
	require.True(t, found)
	return sl.restart
}

func TestSlotsAreExchanged(t *testing.T) {
	fs := vfs.NewMem()
	a, b := memSlots(t, vfs.NewMem()), memSlots(t, fs)
	require.NoError(t, a.create("s", false, 100, 1))
	require.NoError(t, a.create("temporary", true, 100, 1))
	require.NoError(t, b.merge(told(a), 0))
	require.EqualValues(t, 100, restartOf(t, b, "s"))
	_, found := b.read("temporary")
	require.False(t, found)

	// It moves forward wherever its receiver is, never back, and survives a crash.
	b.confirm("s", 300)
	require.NoError(t, a.merge(told(b), 0))
	require.EqualValues(t, 300, restartOf(t, a, "s"))
	require.NoError(t, b.merge([]slot{{name: "s", id: told(a)[0].id, restart: 200}}, 0))
	require.EqualValues(t, 300, restartOf(t, b, "s"))
	b = memSlots(t, fs)
	require.EqualValues(t, 300, restartOf(t, b, "s"))
	at, ok := b.minRestart()
	require.True(t, ok)
	require.EqualValues(t, 300, at)

	// Its WAL is gone where it comes to be copied.
	late := memSlots(t, vfs.NewMem())
	require.NoError(t, late.merge(told(a), 301))
	sl, _ := late.read("s")
	require.True(t, sl.invalidated)
	require.NoError(t, a.merge(told(late), 0))
	sl, _ = a.read("s")
	require.False(t, sl.invalidated, "each member keeps its own WAL")
}

func TestDroppedSlotStaysDropped(t *testing.T) {
	fs := vfs.NewMem()
	a, b, c := memSlots(t, fs), memSlots(t, vfs.NewMem()), memSlots(t, vfs.NewMem())
	require.NoError(t, a.create("s", false, 100, 1))
	require.NoError(t, b.merge(told(a), 0))
	require.NoError(t, c.merge(told(a), 0))
	require.NoError(t, a.drop(t.Context(), "s", false))
	a = memSlots(t, fs) // also after a crash
	require.NoError(t, a.merge(told(b), 0))
	_, found := a.read("s")
	require.False(t, found, "a member that has not heard of it does not bring it back")

	require.NoError(t, c.acquire("s", 7))
	require.NoError(t, c.merge(told(a), 0))
	_, found = c.read("s")
	require.True(t, found, "its receiver is not cut off")
	c.release("s", 7)
	require.NoError(t, b.merge(told(a), 0))
	require.NoError(t, c.merge(told(b), 0))
	for _, s := range []*slotSet{b, c} {
		_, found = s.read("s")
		require.False(t, found)
	}

	// The name may be used again.
	require.NoError(t, b.create("s", false, 500, 1))
	require.NoError(t, a.merge(told(b), 0))
	require.NoError(t, a.merge(told(c), 0))
	require.EqualValues(t, 500, restartOf(t, a, "s"))
}

func TestSlotsMadeIndependentlyLeaveEachOtherAlone(t *testing.T) {
	a, b := memSlots(t, vfs.NewMem()), memSlots(t, vfs.NewMem())
	require.NoError(t, a.create("s", false, 100, 1))
	require.NoError(t, b.create("s", false, 900, 1))
	require.NoError(t, a.merge(told(b), 0))
	require.EqualValues(t, 100, restartOf(t, a, "s"), "its receiver is another one")
}

func TestWhatIsRememberedOfDroppedSlotsIsBounded(t *testing.T) {
	s := memSlots(t, vfs.NewMem())
	var gone []slot
	for id := range uint64(3 * maxGone) {
		gone = append(gone, slot{id: id + 1, dropped: true})
	}
	require.NoError(t, s.merge(gone, 0))
	require.Len(t, s.dropped(), maxGone)
	require.EqualValues(t, 3*maxGone, s.dropped()[maxGone-1])
}

func FuzzSlotsFile(f *testing.F) {
	f.Add("version 1\nslot a 0/100 valid\nslot b 0/0 invalidated\n")
	f.Add(formatSlots([]slot{{name: "a", id: 7, restart: 1}, {name: "b", id: 1 << 63, invalidated: true}, {id: 9, dropped: true}}))
	f.Add("version 2\nslot a 0/1 valid zz\n")
	f.Fuzz(func(t *testing.T, content string) {
		slots, err := parseSlots(content)
		if err != nil {
			return
		}
		again, err := parseSlots(formatSlots(slots))
		require.NoError(t, err)
		require.Equal(t, slots, again)
	})
}
