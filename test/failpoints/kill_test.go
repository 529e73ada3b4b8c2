package failpoints

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/test/cluster"
)

// TestFailPoints is what the package is for. One cluster goes through all of it.
func TestFailPoints(t *testing.T) {
	// All WAL comes by PostgreSQL's stream, so that its points are passed for certain.
	c := cluster.New(t, cluster.Options{NoEarlyPush: true})
	h := &harness{t: t, c: c, w: c.StartWriter(2), logs: map[string]int{}}
	h.w.Await(20)
	killed := map[string]int{} // by program
	for _, p := range table {
		if p.unreachable != "" {
			continue
		}
		h.run(t, p, "kill", func(p point) {
			h.kill(p)
			killed[p.program]++
		})
	}
	held := map[string]int{}
	for _, p := range toStop() {
		h.run(t, p, "stop", func(p point) {
			h.stop(p)
			held[p.program]++
		})
	}
	h.t = t
	report(t, killed, held)
	h.requireNothingLost()
}

// run does one point as a subtest; the cluster is of no use after a failure.
func (h *harness) run(t *testing.T, p point, action string, do func(point)) {
	t.Helper()
	passed := t.Run(action+"/"+p.program+"/"+p.name, func(t *testing.T) {
		h.t = t
		do(p)
	})
	if !passed {
		t.FailNow()
	}
}

// report says how many points there are and at how many a process died or was held, in the
// test's log and in the file that FAILPOINTS_REPORT names.
func report(t *testing.T, killed, held map[string]int) {
	t.Helper()
	var text strings.Builder
	for _, program := range []string{safekeeper, pageserver, walproposer} {
		fmt.Fprintf(&text, "%s: killed at %d of its %d fail points, stopped and continued at %d\n", program, killed[program], count(program), held[program])
		for _, p := range table {
			if p.program == program && p.unreachable != "" {
				fmt.Fprintf(&text, "  not at %s: %s\n", p.name, p.unreachable)
			}
		}
	}
	for _, group := range elsewhere {
		fmt.Fprintf(&text, "%s*: killed by %s\n", group.prefix, group.tests)
	}
	t.Log("\n" + text.String())
	if path := os.Getenv("FAILPOINTS_REPORT"); path != "" {
		require.NoError(t, os.WriteFile(path, []byte(text.String()), 0o644))
	}
}

// count is how many fail points program passes.
func count(program string) (n int) {
	for _, p := range table {
		if p.program == program {
			n++
		}
	}
	return n
}

// kill has a process die at the point, and shows what must hold then and after
// it is back.
func (h *harness) kill(p point) {
	h.t.Helper()
	h.arm(p, "kill")
	dead := h.awaitReached()
	h.until(dead.name+" is gone", func() bool {
		return h.c.PID(dead.name) != dead.pid && strings.Trim(dead.state(), "Z") == ""
	})
	if p.program == walproposer {
		// Nobody brings the safekeepers anything now: what PostgreSQL was told must
		// be there already.
		reported := h.reported()
		h.startMissing(safekeeper)
		h.requireQuorumHas(reported)
	}
	h.disarm()
	h.w.Await(20)
	h.awaitCopies()
	require.Empty(h.t, h.w.Failures(), "transactions failed")
}

func (h *harness) awaitReached() (v victim) {
	h.t.Helper()
	h.until("a process comes to "+h.point.name, func() (ok bool) {
		v, ok = h.reached()
		return ok
	})
	return v
}

// disarm starts everything that is down, and the victims in any case, without
// fail points.
func (h *harness) disarm() {
	h.t.Helper()
	h.endFollowers()
	for _, name := range h.victims {
		h.end(name)
	}
	h.startMissing("")
}

// end kills a daemon that may be dying already.
func (h *harness) end(name string) {
	h.t.Helper()
	if pid := h.c.PID(name); pid != 0 {
		_ = syscall.Kill(pid, syscall.SIGKILL) // an error says that it is gone
	}
	h.until(name+" is gone", func() bool { return h.c.PID(name) == 0 })
}

// startMissing starts the daemons that are down and whose names begin with prefix,
// and waits for them if they are safekeepers.
func (h *harness) startMissing(prefix string) {
	h.t.Helper()
	for _, name := range h.c.Daemons() {
		if h.c.PID(name) == 0 && strings.HasPrefix(name, prefix) {
			h.start(name)
			if prefix == safekeeper {
				h.awaitMember(name)
			}
		}
	}
}

// stopped are sends at which a process is not killed but held: its connections
// stay open and say nothing.
var stopped = []point{
	{program: safekeeper, name: "accepting/send/before", nth: 20},
	{program: safekeeper, name: "sender/push/before", nth: 3, scene: pusher},
	{program: pageserver, name: "pageserver/report/before", nth: 10},
	{program: walproposer, name: "walproposer/push/before", nth: 20},
	{program: walproposer, name: "walproposer/report/before", nth: 10},
}

// toStop are the points at which processes are held: in long runs each fsync,
// each send and each store into the queue that the writer alone passes.
func toStop() []point {
	if os.Getenv("WALHAVEN_TEST_LONG") == "" {
		return stopped
	}
	all := slices.Clone(stopped)
	for _, p := range table {
		known := func(q point) bool { return q.program == p.program && q.name == p.name }
		plain := p.unreachable == "" && p.scene.act == nil && p.scene.before == nil && p.scene.rules == ""
		if plain && !slices.ContainsFunc(stopped, known) {
			all = append(all, p)
		}
	}
	return all
}

// stop has a process stopped at the point, shows that the others go on without
// it, and that it finds its way back.
func (h *harness) stop(p point) {
	h.t.Helper()
	h.arm(p, "stop")
	held := h.awaitReached()
	h.until(held.name+" is stopped", func() bool { return held.state() == "T" })
	switch p.program {
	case walproposer:
		h.requireQuorumHas(h.reported())
	case safekeeper:
		// Another one takes the pushing over.
		h.w.Await(20)
		target := h.target()
		h.until("the pageserver has "+target.String(), func() bool {
			return h.position(h.c.Pageservers[0].PG, "disk_consistent_lsn") >= target
		})
	case pageserver:
		h.w.Await(20)
	}
	if err := syscall.Kill(held.pid, syscall.SIGCONT); p.program != walproposer {
		require.NoError(h.t, err) // A supervisor replaces who is silent for long.
	}
	h.w.Await(20)
	h.awaitCopies()
	require.Empty(h.t, h.w.Failures(), "transactions failed")
	h.disarm()
}

// requireNothingLost compares what every copy holds, and then restores the
// server from the safekeepers alone.
func (h *harness) requireNothingLost() {
	h.t.Helper()
	out, code := h.c.Walhaven("up", "--dir", h.c.Dir(), "--detach")
	require.Zero(h.t, code, out)
	require.Contains(h.t, out, "all 5 are the same")
	acked := h.w.Stop()
	require.NoError(h.t, h.c.Server.Kill())
	h.c.Kill(walproposer)
	require.NoError(h.t, os.RemoveAll(h.c.Postgres.DataDir))
	require.Zero(h.t, h.w.Lost(h.c.Restore()), "of %d acknowledged commits", len(acked))
	h.t.Logf("all %d acknowledged commits are back", len(acked))
}
