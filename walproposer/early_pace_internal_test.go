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
		require.True(t, p.mayPush(at, behind))
	}
	p.hear(p.flushed + maxLead)
	require.False(t, p.mayPush(at, 0), "the stream brings what is flushed")
	require.True(t, p.mayPush(at+maxLead, 0), "one long commit is no bulk load")
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
			if p.mayPush(at, int(at-streamed)) {
				at = written
			}
		}
		for streamed < written {
			p.hear(written)
			streamed += 128 << 10
			at = max(at, streamed)
			require.False(t, p.mayPush(at, int(at-streamed)))
		}
	}
	require.Equal(t, written, at, "by the stream")
	p.hear(written) // the same position tells nothing new
	require.False(t, p.mayPush(at, 0))
	p.hear(written + 152) // the first commit behind the load
	require.True(t, p.mayPush(written+152, 0))
}

// The first bit of a bulk load is small.
func TestLittleOfABulkLoadIsPushedEarly(t *testing.T) {
	p := pace{flushed: paceStart}
	at := paceStart
	for p.mayPush(at, int(at-paceStart)) {
		at += wal.BlockSize
	}
	require.Equal(t, paceStart+maxLead, at)
}
