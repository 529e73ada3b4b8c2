package replication

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walstore"
)

// onlySession is the one that is open.
func (n *node) onlySession(t *testing.T) *pushSession {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	open := slices.Collect(maps.Values(n.sessions))
	require.Len(t, open, 1)
	return open[0]
}

// A sync covers what was there when it began, not what its own session has taken
// meanwhile.
func TestSyncCoversWhatCameBeforeIt(t *testing.T) {
	n := newNode(t)
	p := n.connect(t, ours)
	p.lead(1)
	p.append(1, testBase, nil, 0)
	p.response()
	data := someWAL(8000)
	middle, end := testBase+4000, testBase+wal.LSN(len(data))
	session := n.onlySession(t)
	taken := make(chan walstore.Positions, 1)
	meanwhile := func() {
		rest := data[middle-testBase:]
		err := session.stepLocked(&pushwal.AppendRequest{
			Generation: 1, Term: 1, Begin: middle, End: end, TLI: 1, WAL: rest, CRC: pushwal.Checksum(rest),
		})
		if err != nil {
			t.Errorf("append while a sync runs: %v", err)
		}
		taken <- n.log.Positions()
	}
	n.log.synced.Store(&meanwhile)
	p.append(1, testBase, data[:middle-testBase], 0)
	r, at := p.response(), <-taken
	require.Equal(t, end, at.Write)
	require.Equal(t, middle, at.Flush)
	require.Equal(t, middle, r.DurableLSN)
	require.Equal(t, at.FlushRecord, r.FlushLSN, "what the disk has")
	require.Less(t, r.FlushLSN, middle)
	require.Equal(t, at.FlushRecord, n.FlushLSN())

	p.append(1, end, nil, 0)
	require.Equal(t, end, p.response().FlushLSN, "the sync that is owed for it")
}

// What a sync brought to disk is not acknowledged when it has been cut before anybody
// heard of that: other WAL lies there now, of another term, which is not on disk.
func TestSyncAcrossACut(t *testing.T) {
	n := newNode(t)
	p := n.connect(t, ours)
	p.lead(1)
	p.append(1, testBase, nil, 0)
	p.response()
	synced, cut := make(chan struct{}), make(chan struct{})
	invariant.OnPoint(t, "accepting/sync/after", func(pass int) {
		if pass == 1 {
			close(synced)
			<-cut
		}
	})
	data := someWAL(8000)
	p.append(1, testBase, data, 0)
	<-synced

	rival := n.connect(t, ours)
	rival.greet()
	rival.askVote(2)
	v := rival.vote()
	require.True(t, v.VoteGiven)
	require.Equal(t, testBase+wal.LSN(len(data)), v.FlushLSN, "a vote counts all that is on disk")
	rival.elected(2, testStart, pushwal.TermHistory{{Term: 0, LSN: testStart}, {Term: 2, LSN: testStart}})
	release := n.log.hold()
	defer release()
	syncs := n.log.syncs.Load()
	other := someOtherWAL(8000)
	rival.append(2, testStart, other[testStart-testBase:], 0)
	waitFor(t, func() bool { return n.log.syncs.Load() > syncs })
	require.Equal(t, testBase+wal.LSN(len(other)), n.log.Positions().Write)
	close(cut)

	// The vote answered the old session, which hears of its end with its next message.
	p.append(1, testBase+wal.LSN(len(data)), someWAL(100), 0)
	for r := p.response(); r.Term != 2; r = p.response() {
		require.LessOrEqual(t, r.FlushLSN, v.FlushLSN)
	}
	require.Equal(t, testStart, n.FlushLSN(), "nothing of the new term is on disk")
	answered := make(chan *pushwal.AppendResponse, 1)
	go func() { answered <- rival.response() }()
	select {
	case r := <-answered:
		t.Fatalf("%s is acknowledged, which is not on disk", r.FlushLSN)
	case <-time.After(50 * time.Millisecond): // the negative needs a moment to be wrong in
	}
	release()
	require.Equal(t, testBase+wal.LSN(len(other)), (<-answered).FlushLSN)
}
