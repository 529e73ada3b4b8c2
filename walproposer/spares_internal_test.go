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
		{"both are", []wal.LSN{90, 90, 10}, []int{0, 1, 2}},
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
	disk        []wal.LSN
	rung        []chan struct{}
}

func newSpareWorld() *spareWorld {
	w := &spareWorld{disk: make([]wal.LSN, 3)}
	w.spares = newSpares(newTestTerm().d, func(peer int) wal.LSN { return w.disk[peer] }, newMetrics(prometheus.NewRegistry()))
	w.oldest, w.node = func() time.Duration { return w.uncommitted }, nodeOf
	w.follow(members(3))
	for p := range w.disk {
		w.rung = append(w.rung, make(chan struct{}, 1))
		w.comes(p, w.rung[p])
	}
	return w
}

func (w *spareWorld) expect(t *testing.T, step string, waiting ...int) {
	t.Helper()
	for p := range w.disk {
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
	joint.NewMembers = joint.Members
	w.follow(joint)
	w.expect(t, "a change of the membership")
}

func TestLateQuorumIsHedged(t *testing.T) {
	w := newSpareWorld()
	w.expect(t, "at first", 2)
	w.uncommitted, w.disk = hedgeAfter, []wal.LSN{90, 100, 50}
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
	w := newSpareWorld()
	w.expect(t, "before", 2)
	w.end()
	w.expectRung(t, "the end", 2)
	for p := range w.disk {
		if got, want := w.wasOwed(p), p == 2; got != want {
			t.Errorf("peer %d was owed WAL: %v, want %v", p, got, want)
		}
	}
	w.uncommitted = 0
	w.look(hedgeAfter)
	w.expect(t, "the end")
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
