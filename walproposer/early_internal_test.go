package walproposer

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
	"github.com/walhaven/walhaven/wal/waltail"
)

// waitingEarly is an early push that has brought WAL up to at into the queue.
func waitingEarly(t *testing.T, at wal.LSN) *early {
	t.Helper()
	w, err := newSegmentWatch()
	require.NoError(t, err)
	t.Cleanup(w.close)
	return &early{
		t: &tap{at: at}, watch: w, pace: pace{flushed: at, score: trialScore},
		tail: waltail.New(walrecord.ScannerOptions{Start: at, SegmentSize: wal.DefaultSegmentSize}),
	}
}

// rings says whether the next wait for the bell would end at once, and has it do so.
func (e *early) rings(t *testing.T) bool {
	t.Helper()
	var count [8]byte
	n, _ := unix.Read(e.watch.bell, count[:]) // It does not block.
	return n > 0
}

// While WAL is on its way to the quorum early push waits for that alone, whichever of
// the two is first, and is woken when all of it is there.
func TestEarlyPushIsWokenByTheQuorum(t *testing.T) {
	e := waitingEarly(t, paceStart)
	require.False(t, e.mayPush())
	e.quorumHas(paceStart - 1)
	require.False(t, e.rings(t), "not all of it")
	e.quorumHas(paceStart)
	require.True(t, e.rings(t))
	require.True(t, e.mayPush())
	e.quorumHas(paceStart)
	require.False(t, e.rings(t), "it waits for nobody")

	e = waitingEarly(t, paceStart)
	e.quorumHas(paceStart)
	e.quorumHas(paceStart - 1) // overtaken
	require.True(t, e.mayPush())
	require.False(t, e.rings(t))
}

// Where early push rests it wakes nobody, and goes on once it has rested.
func TestEarlyPushGoesOnOnceItHasRested(t *testing.T) {
	e := waitingEarly(t, paceStart)
	e.quorumHas(paceStart)
	for !e.pace.rests() {
		e.judge(false)
	}
	for range restFor - 1 {
		e.judge(false)
		require.False(t, e.mayPush())
		e.quorumHas(paceStart)
		require.False(t, e.rings(t))
	}
	e.judge(false)
	require.True(t, e.rings(t))
	require.True(t, e.mayPush())

	require.False(t, e.pace.mayPush(paceStart, paceStart, maxLead), "a bulk load")
	require.False(t, e.mayPush())
	require.True(t, e.leftToStream(paceStart))
	require.False(t, e.rings(t))
	require.False(t, e.leftToStream(paceStart+152))
	require.True(t, e.rings(t))
}
