package replication

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/walhaven/walhaven/internal/alloctest"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// TestHotWALIsReadFromMemory: who reads near the end is not sent to the file
// again, and gets what the file has.
func TestHotWALIsReadFromMemory(t *testing.T) {
	n := newNode(t)
	p := n.connect(t, ours)
	p.lead(1)
	data := someWAL(2 << 20)
	buf := make([]byte, len(data))
	const piece = 5000
	for at := 0; at+piece <= len(data); at += piece {
		p.append(1, testBase+wal.LSN(at), data[at:at+piece], 0)
		p.response()
		// The flush position is the end of a record.
		upto := int(n.FlushLSN() - testBase)
		from := max(0, upto-3000)
		got, _, err := n.ReadTerm(1, buf[:upto-from], testBase+wal.LSN(from))
		require.NoError(t, err)
		require.Equal(t, data[from:from+got], buf[:got])
		require.Equal(t, upto-from, got)
	}
	require.Greater(t, n.hot.hits.Load(), uint64(300), "all but the first reads")
	require.NoError(t, n.Checkpoint())
	require.NotNil(t, n.hot.queue.Load())
	require.NoError(t, n.Checkpoint())
	require.Nil(t, n.hot.queue.Load(), "nobody reads any more")
	got, _, err := n.ReadTerm(1, buf, testBase)
	require.NoError(t, err)
	require.Equal(t, data[:got], buf[:got])
}

// TestHotWALIsForgottenWhenItIsCut: what a new term wrote in the place of an old
// one's is read, never what was there.
func TestHotWALIsForgottenWhenItIsCut(t *testing.T) {
	n := newNode(t)
	p := n.connect(t, ours)
	p.lead(1)
	data, buf := someWAL(20_000), make([]byte, 8000)
	for _, at := range []int{0, 8000} {
		p.append(1, testBase+wal.LSN(at), data[at:at+8000], 0)
		p.response()
		_, _, err := n.ReadTerm(1, buf[:100], testBase+wal.LSN(at))
		require.NoError(t, err)
	}
	require.NotNil(t, n.hot.queue.Load())
	require.NotZero(t, testutil.ToFloat64(n.metrics.fromHot))
	require.NotZero(t, testutil.ToFloat64(n.metrics.fromFile))
	rival := n.connect(t, ours)
	rival.greet()
	rival.askVote(2)
	require.True(t, rival.vote().VoteGiven)
	rival.elected(2, testStart, pushwal.TermHistory{{Term: 0, LSN: testStart}, {Term: 2, LSN: testStart}})
	other := someOtherWAL(20_000)
	for at := int(testStart - testBase); at < 16_000; at += 7980 {
		rival.append(2, testBase+wal.LSN(at), other[at:at+7980], 0)
		rival.response()
	}
	got, _, err := n.ReadTerm(2, buf[:3000], testBase+8100)
	require.NoError(t, err)
	require.Equal(t, other[8100:8100+got], buf[:got])
}

// TestHotUnderManyReaders reads from all sides while it goes round.
func TestHotUnderManyReaders(t *testing.T) {
	var h hot
	h.wanted.Store(true)
	const total = 16 << 20
	data := make([]byte, total)
	for i := range data {
		data[i] = byte(i) ^ byte(i>>8) ^ byte(i>>16)
	}
	var end atomic.Uint64
	var done atomic.Bool
	var begun sync.WaitGroup
	g := new(errgroup.Group)
	for reader := range 8 {
		begun.Add(1)
		g.Go(func() error {
			buf := make([]byte, 40_000)
			begun.Done()
			for i := reader; !done.Load(); i++ {
				upto := int(end.Load())
				from := max(0, upto-1-i*7919%200_000)
				p := buf[:min(len(buf), upto-from)]
				if h.read(p, wal.LSN(from), wal.LSN(upto)) && string(p) != string(data[from:from+len(p)]) {
					t.Errorf("wrong bytes at %d", from)
				}
			}
			return nil
		})
	}
	begun.Wait()
	for at := 0; at < total; {
		n := min(total-at, 1+at*31%150_000)
		h.append(wal.LSN(at), data[at:at+n])
		at += n
		end.Store(uint64(at))
		if at%17 == 0 {
			h.drop()
		}
	}
	done.Store(true)
	require.NoError(t, g.Wait())
}

func TestHotReadDoesNotAllocate(t *testing.T) {
	var h hot
	h.wanted.Store(true)
	h.append(0, make([]byte, 100_000))
	p := make([]byte, 30_000)
	alloctest.None(t, 100, func() {
		if !h.read(p, 50_000, 100_000) {
			t.Fail()
		}
	})
}

// TestOnlyCommittedWALIsLent: other WAL may be cut while it is on its way.
func TestOnlyCommittedWALIsLent(t *testing.T) {
	n := newNode(t)
	p := n.connect(t, ours)
	p.lead(1)
	data := someWAL(50_000)
	end := testBase + wal.LSN(len(data))
	p.append(1, testBase, data, 0)
	p.response()
	n.log.taken()
	_, ok := n.Lend(testBase, len(data))
	require.False(t, ok, "nothing is committed yet")
	require.Empty(t, n.log.taken())
	p.append(1, end, nil, end)
	p.response()
	_, err := n.WaitCommit(within(t), end-1)
	require.NoError(t, err)
	n.log.taken()
	_, ok = n.Lend(testBase, len(data)+1)
	require.False(t, ok)
	require.Empty(t, n.log.taken())
	reads := testutil.ToFloat64(n.metrics.fromFile)
	_, ok = n.Lend(testBase, len(data))
	require.True(t, ok)
	require.Equal(t, []string{fmt.Sprintf("lend %d at %s", len(data), testBase)}, n.log.taken())
	require.InDelta(t, reads+1, testutil.ToFloat64(n.metrics.fromFile), 0)
}
