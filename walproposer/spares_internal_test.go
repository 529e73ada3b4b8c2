package walproposer

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// nodes are the members behind the first n peers: peer 0 is node 10.
func nodes(n int) (ids []pushwal.NodeID) {
	for peer := range n {
		ids = append(ids, nodeOf(peer))
	}
	return ids
}

func nodeOf(peer int) pushwal.NodeID { return pushwal.NodeID(10 + peer) }

func TestLineup(t *testing.T) {
	for _, c := range []struct {
		name    string
		members int // the first ones
		here    []int
		spare   []int
	}{
		{"three members, all here", 3, []int{0, 1, 2}, []int{2}},
		{"one of them elsewhere, or behind", 3, []int{0, 1}, nil},
		{"five members", 5, []int{4, 3, 2, 1, 0}, []int{1, 0}},
		{"four members", 4, []int{0, 1, 2, 3}, []int{3}},
		{"two members", 2, []int{0, 1}, nil},
		{"one member", 1, []int{0}, nil},
		{"a node here that is no member", 3, []int{0, 3, 1, 2}, []int{2}},
		{"in the place of one that is", 3, []int{0, 3, 1}, nil},
		{"the membership changes", 0, []int{0, 1, 2}, nil},
	} {
		l := lineup{members: nodes(c.members)}
		for _, p := range c.here {
			l.comes(comer{p, nodeOf(p)})
		}
		if got := l.spare(); !slices.Equal(got, c.spare) {
			t.Errorf("%s: %v is spare, want %v", c.name, got, c.spare)
		}
	}
}

func TestLateMembersBecomeSpare(t *testing.T) {
	for _, c := range []struct {
		name    string
		flushed []wal.LSN // by peer
		here    []int
	}{
		{"one of two is behind", []wal.LSN{100, 90, 10}, []int{0, 2, 1}},
		{"the other one", []wal.LSN{90, 100, 10}, []int{1, 2, 0}},
		{"nobody is", []wal.LSN{90, 90, 10}, []int{1, 2, 0}},
		{"of five two", []wal.LSN{90, 100, 80, 10, 10}, []int{1, 3, 4, 0, 2}},
		{"all are needed", []wal.LSN{90, 100}, []int{0, 1}},
	} {
		l := lineup{members: nodes(len(c.flushed))}
		for p := range c.flushed {
			l.comes(comer{p, nodeOf(p)})
		}
		l.late(func(peer int) wal.LSN { return c.flushed[peer] })
		var order []int
		for _, m := range l.here {
			order = append(order, m.peer)
		}
		if !slices.Equal(order, c.here) {
			t.Errorf("%s: lined up %v, want %v", c.name, order, c.here)
		}
	}
}

func members(n int) (c pushwal.Configuration) {
	for _, id := range nodes(n) {
		c.Members = append(c.Members, pushwal.Member{ID: id})
	}
	return c
}

// spareWorld is three peers here, of which the last is spare.
type spareWorld struct {
	*spares
	uncommitted time.Duration
	rung        []chan struct{}
}

func newSpareWorld() *spareWorld {
	w := &spareWorld{spares: newSpares(newTestTerm().d, make([]told, maxPeers), newMetrics(prometheus.NewRegistry()))}
	w.oldest, w.node = func() time.Duration { return w.uncommitted }, nodeOf
	w.follow(members(3))
	for p := range 3 {
		w.rung = append(w.rung, make(chan struct{}, 1))
		w.comes(p, w.rung[p])
	}
	return w
}

func (w *spareWorld) expect(t *testing.T, step string, waiting ...int) {
	t.Helper()
	for p := range w.rung {
		if got, want := w.mayWait(p, 0), slices.Contains(waiting, p); got != want {
			t.Errorf("%s: peer %d may wait: %v, want %v", step, p, got, want)
		}
	}
}

func (w *spareWorld) expectRung(t *testing.T, step string, peers ...int) {
	t.Helper()
	for p, c := range w.rung {
		select {
		case <-c:
			if !slices.Contains(peers, p) {
				t.Errorf("%s: peer %d was rung", step, p)
			}
		default:
			if slices.Contains(peers, p) {
				t.Errorf("%s: peer %d was not rung", step, p)
			}
		}
	}
}

func TestSpareMembersWait(t *testing.T) {
	w := newSpareWorld()
	w.expect(t, "all there", 2)
	if w.mayWait(2, spareWait) {
		t.Error("a spare member waits longer than spareWait")
	}
	w.leaves(0, w.rung[0])
	w.expect(t, "one gone")
	w.expectRung(t, "one gone", 2)
	again := make(chan struct{}, 1)
	w.comes(0, again)
	w.expect(t, "back", 0)
	w.leaves(0, w.rung[0])
	w.expect(t, "an older connection's end", 0)
	joint := members(3)
	joint.Generation, joint.NewMembers = 2, joint.Members
	w.follow(joint)
	w.expect(t, "a change of the membership")
	w.follow(members(3))
	w.expect(t, "old news")
	joint.Generation, joint.NewMembers = 3, nil
	w.follow(joint)
	w.expect(t, "its end", 0)
}

func TestLateQuorumIsHedged(t *testing.T) {
	w := newSpareWorld()
	w.expect(t, "at first", 2)
	w.uncommitted = hedgeAfter
	for p, flush := range []uint64{90, 100, 50} {
		w.told[p].flush.Store(flush)
	}
	if next := w.look(hedgeAfter); next != hedgeAfter {
		t.Errorf("looks again after %s, want %s", next, hedgeAfter)
	}
	w.expect(t, "late")
	w.expectRung(t, "late", 2)
	next := hedgeAfter
	for range 10 {
		next = w.look(next)
	}
	if next != hedgeLook {
		t.Errorf("looks every %s while it lasts, want %s", next, hedgeLook)
	}
	w.expect(t, "still late")
	if n := testutil.ToFloat64(w.metrics.hedges); n != 1 {
		t.Errorf("%g hedges are counted, want 1", n)
	}
	w.uncommitted = 0
	w.look(next)
	w.expect(t, "over", 0)
}

func TestNobodyWaitsAtTheEnd(t *testing.T) {
	for _, c := range []struct {
		name  string
		flush uint64
		owed  bool
	}{
		{"what was kept back is owed", 100, true},
		{"one that hangs is not waited for", 99, false},
	} {
		w := newSpareWorld()
		w.told[2].gave(100, 90)
		w.told[2].flush.Store(c.flush)
		w.expect(t, c.name, 2)
		w.end()
		w.expectRung(t, c.name, 2)
		for p := range w.rung {
			if got, want := w.wasOwed(p), p == 2 && c.owed; got != want {
				t.Errorf("%s: peer %d was owed WAL: %v, want %v", c.name, p, got, want)
			}
		}
		w.look(hedgeAfter)
		w.expect(t, c.name)
	}
}

// A single answer tells that the commit position has come which went with the WAL.
func TestToldWithTheWALItself(t *testing.T) {
	for _, c := range []struct {
		name                 string
		had, end, with, has  wal.LSN
		committed, wantsTold wal.LSN
	}{
		{"WAL and the position that it is committed", 50, 100, 100, 100, 100, 100},
		{"the answer is to earlier WAL", 50, 100, 100, 60, 100, 0},
		{"the position is older", 50, 100, 80, 100, 100, 80},
		{"WAL that it had", 100, 100, 100, 100, 120, 0},
	} {
		var p told
		p.flush.Store(uint64(c.had))
		p.gave(c.end, c.with)
		p.answered(c.has, c.committed)
		if got := wal.LSN(p.commit.Load()); got != c.wantsTold {
			t.Errorf("%s: it was told %s, want %s", c.name, got, c.wantsTold)
		}
	}
}

func TestWatchRests(t *testing.T) {
	w := newSpareWorld()
	w.mayWait(2, 0)
	<-w.kick
	if next := w.look(hedgeAfter); next != hedgeAfter {
		t.Errorf("WAL was kept back, and it looks again after %s", next)
	}
	w.uncommitted = hedgeAfter - 1
	if next := w.look(hedgeAfter); next != hedgeAfter {
		t.Errorf("WAL is not committed, and it looks again after %s", next)
	}
	w.uncommitted = 0
	if next := w.look(hedgeAfter); next != 0 {
		t.Errorf("nothing happens, and it looks again after %s", next)
	}
	w.mayWait(2, 0)
	select {
	case <-w.kick:
	default:
		t.Error("WAL is kept back and nobody is told to look")
	}
}

func TestWatchEnds(t *testing.T) {
	w := newSpareWorld()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.watch(ctx); err == nil {
		t.Error("the watch ended without a reason")
	}
}
