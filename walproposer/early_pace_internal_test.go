package walproposer

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
)

const paceStart = wal.LSN(1 << 24)

// Commits are pushed early however fast they come: PostgreSQL flushes them.
func TestCommitsArePushedEarly(t *testing.T) {
	p := pace{flushed: paceStart}
	at := p.flushed
	const behind = 152 * 64 // the stream, by what 64 clients wait for
	for range 100_000 {
		at += 152
		p.hear(at - behind)
		require.True(t, p.mayPush(at, at, behind))
	}
	p.hear(p.flushed + maxLead)
	require.False(t, p.mayPush(at, at, 0), "the stream brings what is flushed")
	require.True(t, p.mayPush(at+maxLead, at+maxLead, 0), "one long commit is no bulk load")
}

// Early push rests while most of what the stream brings was not pushed, and is tried
// again.
func TestEarlyPushRestsWhereItIsTooLate(t *testing.T) {
	p := pace{flushed: paceStart, score: trialScore}
	may := func() bool { return p.mayPush(paceStart, paceStart, 0) }
	for range 1000 {
		p.judge(true)
	}
	late := 0
	for ; may(); late++ {
		p.judge(late%2 == 1)
		require.Less(t, late, 1000, "every other message")
	}
	require.Greater(t, late, fullScore, "a few do not count")
	rests := func() (messages int) {
		for p.rests() {
			require.False(t, may())
			p.judge(false)
			messages++
		}
		require.True(t, may(), "tried again")
		return messages
	}
	require.Equal(t, restFor, rests())
	for rest := 2 * restFor; ; rest *= 2 { // Each trial fails.
		p.judge(false)
		require.True(t, may())
		p.judge(false)
		require.Equal(t, min(rest, restLonger), rests())
		if rest > 2*restLonger {
			break
		}
	}
	for range 10 * restFor {
		p.judge(true)
		require.True(t, may())
	}
	for may() {
		p.judge(false)
	}
	require.Equal(t, restFor, rests(), "it had been of use")
}

// With many writers WAL gathers while some is on its way to the quorum.
func TestOnePushIsOnItsWayAtATime(t *testing.T) {
	p := pace{flushed: paceStart}
	require.True(t, p.mayPush(paceStart, paceStart, 0))
	at := paceStart + 152
	require.False(t, p.mayPush(at, paceStart, 152))
	require.False(t, p.mayPush(at, at-1, 152))
	require.True(t, p.mayPush(at, at, 152), "though PostgreSQL has not flushed it")
}

// A bulk load is the stream's: of WAL that PostgreSQL does not flush the first bit is
// pushed early and no more, whatever comes by the stream, until it flushes little
// again.
func TestBulkLoadIsLeftToTheStream(t *testing.T) {
	p := pace{flushed: paceStart}
	streamed, at, written := paceStart, paceStart, paceStart
	for range 20 { // segments, written page by page and flushed at their end
		for range (16 << 20) / wal.BlockSize {
			written += wal.BlockSize
			if p.mayPush(at, at, int(at-streamed)) {
				at = written
			}
		}
		for streamed < written {
			p.hear(written)
			streamed += 128 << 10
			at = max(at, streamed)
			require.False(t, p.mayPush(at, at, int(at-streamed)))
		}
	}
	require.Equal(t, written, at, "by the stream")
	p.hear(written) // the same position tells nothing new
	require.False(t, p.mayPush(at, at, 0))
	p.hear(written + 152) // the first commit behind the load
	require.True(t, p.mayPush(written+152, written+152, 0))
}

// The first bit of a bulk load is small.
func TestLittleOfABulkLoadIsPushedEarly(t *testing.T) {
	p := pace{flushed: paceStart}
	at := paceStart
	for p.mayPush(at, at, int(at-paceStart)) {
		at += wal.BlockSize
	}
	require.Equal(t, paceStart+maxLead, at)
}
