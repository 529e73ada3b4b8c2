package consensus

import (
	goflag "flag"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol/pushwal"
)

var exploreLevel = goflag.Int("explore", 0, "which bounds are explored: 0 small ones, 1 those of CI, 2 all that end in minutes, 3 all")

func xFounding(s *xScope, id pushwal.NodeID) State {
	var ids []pushwal.NodeID
	for i := 1; i <= s.nodes-s.joiners; i++ {
		ids = append(ids, pushwal.NodeID(i))
	}
	return Founding(State{
		ID: testID(), SystemID: 7, PGVersion: 170005, SegmentSize: testSegment, Start: xStart,
		Incarnation: incarnation(id), Configuration: pushwal.Configuration{Generation: 1, Members: members(ids...)},
		Joining: int(id) > s.nodes-s.joiners,
	})
}

func newXWorld(s *xScope) *xWorld {
	w := &xWorld{s: s, left: xLeft{
		crashes: int8(s.crashes), breaks: int8(s.breaks), drops: int8(s.drops), dups: int8(s.dups), wipes: int8(s.wipes),
		learns: int8(s.learns), ticks: int8(s.ticks), asks: int8(s.asks), gossips: int8(s.gossips),
	}}
	for id := 1; id <= s.nodes; id++ {
		n := &xNode{id: pushwal.NodeID(id), disk: xFounding(s, pushwal.NodeID(id))}
		n.start(w)
		w.nodes = append(w.nodes, n)
	}
	w.inForce(w.nodes[0].disk.Configuration)
	return w
}

// xSearch visits every state of a scope once.
type xSearch struct {
	mu      sync.Mutex
	wake    *sync.Cond
	stack   []*xWorld // shared among the workers
	idle    int
	workers int
	found   *xWorld // a violation
	steps   int
	shards  [64]struct {
		sync.Mutex
		seen map[xKey]struct{}
	}
}

// explore visits all states and returns their number and one that is wrong, if any.
func explore(s *xScope) (states, steps int, wrong *xWorld) {
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // what is alive is small beside what is made
	x := &xSearch{workers: min(runtime.GOMAXPROCS(0), 8)}
	x.wake = sync.NewCond(&x.mu)
	for i := range x.shards {
		x.shards[i].seen = map[xKey]struct{}{}
	}
	w := newXWorld(s)
	x.visit(w.key(new(xEnc)))
	x.stack = append(x.stack, w)
	var wg sync.WaitGroup
	for range x.workers {
		wg.Go(x.work)
	}
	wg.Wait()
	for i := range x.shards {
		states += len(x.shards[i].seen)
	}
	return states, x.steps, x.found
}

// visit says whether a state is new.
func (x *xSearch) visit(k xKey) bool {
	s := &x.shards[k[0]%uint64(len(x.shards))]
	s.Lock()
	defer s.Unlock()
	if _, ok := s.seen[k]; ok {
		return false
	}
	s.seen[k] = struct{}{}
	return true
}

// take returns states to go on from, nil when there are none and never will be.
func (x *xSearch) take(steps int) []*xWorld {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.steps += steps
	x.idle++
	for len(x.stack) == 0 && x.idle < x.workers && x.found == nil {
		x.wake.Wait()
	}
	if len(x.stack) == 0 || x.found != nil {
		x.wake.Broadcast()
		return nil
	}
	x.idle--
	n := max(1, min(len(x.stack)/x.workers, 64))
	out := append([]*xWorld(nil), x.stack[len(x.stack)-n:]...)
	x.stack = x.stack[:len(x.stack)-n]
	return out
}

func (x *xSearch) give(ws []*xWorld) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.stack = append(x.stack, ws...)
	x.wake.Broadcast()
}

func (x *xSearch) work() {
	var acts []xAct
	var enc xEnc
	steps := 0
	for {
		mine := x.take(steps)
		if mine == nil {
			return
		}
		for steps = 0; len(mine) > 0; {
			w := mine[len(mine)-1]
			mine = mine[:len(mine)-1]
			acts = w.acts(acts[:0])
			for _, act := range acts {
				n := w.step(act)
				if n == nil {
					continue
				}
				steps++
				if n.err != "" {
					x.mu.Lock()
					x.found = n
					x.wake.Broadcast()
					x.mu.Unlock()
					return
				}
				if x.visit(n.key(&enc)) {
					mine = append(mine, n)
				}
			}
			if len(mine) > 512 {
				x.give(mine[:256])
				mine = append([]*xWorld(nil), mine[256:]...)
			}
		}
	}
}

// way lists the steps to a state.
func (w *xWorld) way() (acts []xAct) {
	for t := w.how; t != nil; t = t.before {
		acts = append([]xAct{t.act}, acts...)
	}
	return acts
}

// xReplay returns the state that some steps lead to, nil when one of them cannot be
// done or nothing is wrong then.
func xReplay(s *xScope, acts []xAct) *xWorld {
	w := newXWorld(s)
	for _, act := range acts {
		possible := false
		for _, a := range w.acts(nil) {
			possible = possible || a == act
		}
		if !possible {
			return nil
		}
		if w = w.step(act); w == nil || w.err != "" {
			return w
		}
	}
	return nil
}

// shorten leaves out what a violation does not need.
func shorten(w *xWorld) *xWorld {
	acts := w.way()
	for size := len(acts) / 2; size > 0; {
		less := false
		for i := 0; i+size <= len(acts); i++ {
			try := append(append([]xAct(nil), acts[:i]...), acts[i+size:]...)
			if v := xReplay(w.s, try); v != nil {
				w, acts, less = v, v.way(), true
				break
			}
		}
		if !less {
			size /= 2
		}
	}
	return w
}

func (w *xWorld) story() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, after these steps:\n", w.err)
	for i, a := range w.way() {
		fmt.Fprintf(&b, "%4d  %s\n", i+1, a)
	}
	return b.String()
}

// TestExploreNotices: within the same bounds a driver that breaks its rules is found
// out.
func TestExploreNotices(t *testing.T) {
	for name, s := range map[string]xScope{
		"vote not saved":            {nodes: 3, proposers: []xKind{headless, headless}, crashes: 1, quiet: true, broken: voteNotSaved},
		"history before truncation": {nodes: 3, proposers: []xKind{restored, headless}, writes: 1, crashes: 1, inTurn: true, quiet: true, broken: historyBeforeCut},
		"acknowledged before sync":  {nodes: 3, proposers: []xKind{restored, headless}, writes: 1, lazy: true, crashes: 1, inTurn: true, quiet: true, broken: ackBeforeSync},
		"acknowledged during sync":  {nodes: 3, proposers: []xKind{restored, headless}, writes: 2, lazy: true, aside: true, inTurn: true, quiet: true, broken: ackDuringSync},
		"wiped node votes":          {nodes: 3, proposers: []xKind{restored, headless}, writes: 1, wipes: 1, inTurn: true, quiet: true, broken: wipedCounts},
	} {
		t.Run(name, func(t *testing.T) {
			if (s.broken == historyBeforeCut || s.broken == wipedCounts) && *exploreLevel == 0 {
				t.Skip("its bound is large: with -args -explore 1")
			}
			states, _, wrong := explore(&s)
			require.NotNil(t, wrong, "nothing is wrong in %d states", states)
			wrong = shorten(wrong)
			require.NotEmpty(t, wrong.err)
			t.Logf("after %d states: %s", states, wrong.story())
		})
	}
}

// TestExplore visits every state that proposers and acceptors can reach within a
// bound, whatever order things happen in, and checks each.
func TestExplore(t *testing.T) {
	for _, s := range xScopes {
		t.Run(s.name, func(t *testing.T) {
			if s.level > *exploreLevel {
				t.Skipf("with -args -explore %d", s.level)
			}
			began := time.Now()
			states, steps, wrong := explore(&s)
			if wrong != nil {
				t.Fatalf("after %d states: %s", states, shorten(wrong).story())
			}
			t.Logf("%d states, %d steps between them, all of %s, in %s", states, steps, s.bound(), time.Since(began).Round(time.Millisecond))
			if s.states > 0 {
				require.Equal(t, s.states, states, "the bound, or what is in it, has changed: say so where the figure is")
			}
		})
	}
}

// xScopes are the bounds, and how many states each has.
var xScopes = []xScope{
	{name: "lessons", nodes: 3, proposers: []xKind{restored, headless}, writes: 1, learns: 1, inTurn: true, states: 18695},
	{name: "syncs that come late", nodes: 3, proposers: []xKind{restored, headless}, writes: 1, lazy: true, inTurn: true, quiet: true, states: 4435},
	{name: "syncs heard of late", nodes: 3, proposers: []xKind{restored, headless}, writes: 2, lazy: true, aside: true, inTurn: true, quiet: true, level: 1, states: 161512},
	{name: "the same server again", nodes: 3, proposers: []xKind{restored, again}, writes: 1, inTurn: true, level: 1, states: 32701},
	{name: "messages lost", nodes: 3, proposers: []xKind{restored, headless}, writes: 1, drops: 1, inTurn: true, quiet: true, level: 1, states: 19462},
	{name: "crashes in campaigns", nodes: 3, proposers: []xKind{restored, headless}, crashes: 1, inTurn: true, quiet: true, level: 1, states: 43013},

	{name: "elections", nodes: 3, proposers: []xKind{restored, restored}, writes: 1, level: 1, states: 46999},
	{name: "answers that come late", nodes: 3, proposers: []xKind{restored, headless}, writes: 1, late: true, inTurn: true, quiet: true, level: 1, states: 90316},
	{name: "connections given up", nodes: 3, proposers: []xKind{restored, headless}, writes: 1, breaks: 1, ticks: 1, inTurn: true, quiet: true, level: 1, states: 176753},
	{name: "messages doubled", nodes: 3, proposers: []xKind{restored, headless}, writes: 1, dups: 1, inTurn: true, quiet: true, level: 1, states: 105301},
	{name: "crashes in elections", nodes: 3, proposers: []xKind{headless, headless}, crashes: 1, quiet: true, level: 1, states: 96934},
	{name: "crashes", nodes: 3, proposers: []xKind{restored, headless}, writes: 1, crashes: 1, inTurn: true, quiet: true, level: 1, states: 303174},

	{name: "syncs heard of late, crashes", nodes: 3, proposers: []xKind{restored, headless}, writes: 1, lazy: true, aside: true, crashes: 1, inTurn: true, quiet: true, level: 2, states: 1497672},
	{name: "disks lost", nodes: 3, proposers: []xKind{restored, headless}, writes: 1, wipes: 1, inTurn: true, quiet: true, level: 2, states: 383600},
	{name: "another membership", nodes: 3, joiners: 1, proposers: []xKind{restored, headless}, wishes: [][]int{{1, 3}}, asks: 1, inTurn: true, quiet: true, level: 2, states: 537188},
	{name: "two operators", nodes: 3, joiners: 1, proposers: []xKind{restored, restored}, wishes: [][]int{{1, 3}, {2, 3}}, asks: 2, inTurn: true, quiet: true, level: 3},
	{name: "three proposers", nodes: 3, proposers: []xKind{restored, restored, headless}, writes: 1, inTurn: true, quiet: true, level: 2, states: 543207},
}

func (s *xScope) bound() string {
	return fmt.Sprintf("%d acceptors, %d proposers, %d records each; at most %d crashes, %d connections given up, %d messages lost, %d doubled, "+
		"%d data directories lost, %d lessons, %d campaigns again, %d membership wishes, %d told by peers",
		s.nodes, len(s.proposers), s.writes, s.crashes, s.breaks, s.drops, s.dups, s.wipes, s.learns, s.ticks, s.asks, s.gossips)
}
