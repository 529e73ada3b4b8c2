package replication

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/alloctest"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
)

const proposingStart = wal.LSN(0x1500000)

func newProposing(commits *[]wal.LSN, proofs *[]*consensus.ProofRequest) *Proposing {
	return NewProposing(ProposingOptions{
		Config: consensus.ProposerConfig{
			ID: wal.TTID{Tenant: wal.TenantID{1}, Timeline: wal.TimelineID{2}}, SystemID: 7, PGVersion: 150000,
			SegmentSize: wal.DefaultSegmentSize, TLIHistory: wal.TimelineHistory{Last: 1},
			Instance: pushwal.Instance{1}, Peers: 3,
		},
		Prove:  func(r *consensus.ProofRequest) { *proofs = append(*proofs, r) },
		Commit: func(l wal.LSN) { *commits = append(*commits, l) },
	})
}

// elect brings a proposer with two peers up to its election.
func elect(t *testing.T, d *Proposing, proofs *[]*consensus.ProofRequest) []*Link {
	t.Helper()
	conf := pushwal.Configuration{Generation: 1, Members: []pushwal.Member{{ID: 1}, {ID: 2}, {ID: 3}}}
	links := []*Link{d.Connect(0), d.Connect(1)}
	for i, l := range links {
		require.NoError(t, l.Greeted(&pushwal.AcceptorGreeting{
			NodeID: pushwal.NodeID(i + 1), Config: conf, Options: &pushwal.AcceptorOptions{Walhaven: 1},
		}))
	}
	for _, l := range links {
		w, err := l.Take()
		require.NoError(t, err)
		require.Len(t, w.Messages, 1)
		require.NoError(t, l.Voted(&pushwal.VoteResponse{
			Generation: 1, Term: 1, VoteGiven: true, FlushLSN: proposingStart,
			History: pushwal.TermHistory{{Term: 0, LSN: proposingStart}},
		}))
	}
	require.Len(t, *proofs, 1)
	for _, l := range links {
		w, err := l.Take()
		require.NoError(t, err)
		require.Empty(t, w.Messages, "no ProposerElected before the proof")
	}
	d.Proved((*proofs)[0].Term, nil)
	select {
	case <-d.Elected():
	default:
		t.Fatal("not elected")
	}
	return links
}

func ack(l *Link, at wal.LSN) error {
	return l.Appended(&pushwal.AppendResponse{Generation: 1, Term: 1, FlushLSN: at})
}

func TestProposingReportsWhatAQuorumHas(t *testing.T) {
	var commits []wal.LSN
	var proofs []*consensus.ProofRequest
	d := newProposing(&commits, &proofs)
	links := elect(t, d, &proofs)
	for _, l := range links {
		w, err := l.Take()
		require.NoError(t, err)
		require.NotNil(t, w.Start)
		drain(l.Wake())
	}
	d.Available(proposingStart + 800)
	require.NoError(t, ack(links[0], proposingStart+800))
	require.Empty(t, commits, "one of three is no quorum")
	require.NoError(t, ack(links[1], proposingStart+400))
	require.Equal(t, []wal.LSN{proposingStart + 400}, commits)
	require.Equal(t, proposingStart+400, d.CommitLSN())
	for _, l := range links {
		require.Empty(t, l.Wake(), "the next WAL carries the commit position")
	}
}

// A commit that no WAL follows is announced all the same, and so is each later
// one.
func TestCommitsAreAnnouncedWhenNoWALFollows(t *testing.T) {
	var commits []wal.LSN
	var proofs []*consensus.ProofRequest
	d := newProposing(&commits, &proofs)
	links := elect(t, d, &proofs)
	for _, l := range links {
		_, err := l.Take()
		require.NoError(t, err)
		drain(l.Wake())
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	for at := proposingStart + 100; at <= proposingStart+300; at += 100 {
		d.Available(at)
		for _, l := range links {
			require.NoError(t, ack(l, at))
		}
		for _, l := range links {
			<-l.Wake()
			w, err := l.Take()
			require.NoError(t, err)
			require.True(t, w.Announce)
			w, err = l.Take()
			require.NoError(t, err)
			require.False(t, w.Announce, "once")
		}
		require.Equal(t, at, d.CommitLSN())
	}
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
}

// With AnnounceAtOnce it needs nobody who waits whether WAL follows.
func TestCommitsAreAnnouncedAtOnce(t *testing.T) {
	var commits []wal.LSN
	var proofs []*consensus.ProofRequest
	d := newProposing(&commits, &proofs)
	d.o.AnnounceAtOnce = true
	links := elect(t, d, &proofs)
	d.Available(proposingStart + 100)
	for _, l := range links {
		require.NoError(t, ack(l, proposingStart+100))
	}
	for _, l := range links {
		w, err := l.Take()
		require.NoError(t, err)
		require.True(t, w.Announce)
	}
}

func TestAcknowledgementsBeyondTheOwnWALDoNotCount(t *testing.T) {
	var commits []wal.LSN
	var proofs []*consensus.ProofRequest
	d := newProposing(&commits, &proofs)
	links := elect(t, d, &proofs)
	d.Available(proposingStart + 100)
	for _, l := range links {
		require.NoError(t, ack(l, proposingStart+200))
	}
	require.Equal(t, proposingStart+100, d.CommitLSN())
}

// A quorum that takes in a long record is at work, though nothing is committed.
func TestLongRecordIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var commits []wal.LSN
		var proofs []*consensus.ProofRequest
		d := newProposing(&commits, &proofs)
		links := elect(t, d, &proofs)
		for _, l := range links {
			require.NoError(t, ack(l, proposingStart))
		}
		d.Available(proposingStart + 1000)
		time.Sleep(9 * time.Second)
		require.Equal(t, 9*time.Second, d.OldestUncommitted())
		for _, l := range links {
			require.NoError(t, l.Appended(&pushwal.AppendResponse{
				Generation: 1, Term: 1, FlushLSN: proposingStart, DurableLSN: proposingStart + 500,
			}))
		}
		require.Zero(t, d.OldestUncommitted())
		time.Sleep(3 * time.Second)
		require.Equal(t, 3*time.Second, d.OldestUncommitted())
		for _, l := range links {
			require.NoError(t, l.Appended(&pushwal.AppendResponse{
				Generation: 1, Term: 1, FlushLSN: proposingStart, DurableLSN: proposingStart + 1000,
			}))
		}
		time.Sleep(9 * time.Second)
		require.Zero(t, d.OldestUncommitted(), "the rest is PostgreSQL's to send")
		require.Equal(t, proposingStart, d.CommitLSN())
	})
}

func TestHigherTermEndsTheProposer(t *testing.T) {
	var commits []wal.LSN
	var proofs []*consensus.ProofRequest
	d := newProposing(&commits, &proofs)
	links := elect(t, d, &proofs)
	_ = links[0].Appended(&pushwal.AppendResponse{Generation: 1, Term: 2})
	<-d.Done()
	require.ErrorIs(t, d.Err(), consensus.ErrHigherTerm)
	require.ErrorIs(t, d.Run(t.Context()), consensus.ErrHigherTerm)
}

func TestNewerConnectionReplacesTheOlder(t *testing.T) {
	var commits []wal.LSN
	var proofs []*consensus.ProofRequest
	d := newProposing(&commits, &proofs)
	links := elect(t, d, &proofs)
	again := d.Connect(0)
	_, err := links[0].Take()
	require.ErrorIs(t, err, errReplaced)
	require.Error(t, ack(links[0], proposingStart), "what an old connection says does not count")
	links[0].Close()
	require.NoError(t, again.Greeted(&pushwal.AcceptorGreeting{
		NodeID: 1, Term: 1, Config: d.Configuration(), Options: &pushwal.AcceptorOptions{Walhaven: 1},
	}), "closing the old link leaves the new one alone")
}

func drain(c <-chan struct{}) {
	select {
	case <-c:
	default:
	}
}

func TestMarksTimeEachPositionOnce(t *testing.T) {
	var m Marks
	now := time.Now()
	m.Add(10, now)
	m.Add(10, now)
	m.Add(20, now.Add(time.Millisecond))
	m.Add(15, now)
	var got []time.Duration
	m.Reach(15, now.Add(time.Second), func(d time.Duration) { got = append(got, d) })
	require.Equal(t, []time.Duration{time.Second}, got)
	m.Reach(20, now.Add(time.Second), func(d time.Duration) { got = append(got, d) })
	require.Len(t, got, 2)
	require.Zero(t, m.Oldest())
	for i := range wal.LSN(2 * markCount) {
		m.Add(100+i, now)
	}
	m.Reach(1<<40, now, func(time.Duration) {})
	require.Zero(t, m.Oldest())
}

func TestPublishingDoesNotAllocate(t *testing.T) {
	var commits []wal.LSN
	var proofs []*consensus.ProofRequest
	d := newProposing(&commits, &proofs)
	elect(t, d, &proofs)
	at := proposingStart
	alloctest.None(t, 1000, func() {
		at += 8
		d.Available(at)
	})
}
