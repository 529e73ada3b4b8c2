package chaos

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/test/cluster"
)

// fault is one way to break things.
type fault struct {
	name string
	// begin breaks it and returns what takes that back, nil if there is nothing to
	// do but to heal the network, which follows in any case. What it did not
	// choose by the seed alone is in the text.
	begin func(w *world) (what string, end func())
	// needsAll says that it waits for commits itself: nothing else may be broken.
	needsAll bool
}

// faults are all kinds of them; each round of the test is one, and perhaps a link
// that is lost at the same time.
var faults = []fault{
	{name: "a machine is cut off", begin: func(w *world) (string, func()) {
		m := w.anyMachine()
		w.isolate(m)
		return m.String(), nil
	}},
	{name: "a link is lost one way", begin: func(w *world) (string, func()) {
		l := w.anyLink()
		w.cut(l)
		return l.String(), nil
	}},
	{name: "one way of all links of a machine is lost", begin: func(w *world) (string, func()) {
		return w.deafOrMute()
	}},
	{name: "the machines are split", begin: func(w *world) (string, func()) {
		side := []machine{w.primary.Load().m, w.anyKeeper().m}
		w.split(side...)
		return fmt.Sprint(side, " apart"), nil
	}},
	{name: "a safekeeper is killed", begin: func(w *world) (string, func()) {
		k := w.anyKeeper()
		k.kill()
		return k.m.String(), func() { w.startKeeper(k) }
	}},
	{name: "two safekeepers are killed", begin: func(w *world) (string, func()) {
		k := w.anyKeeper()
		other := w.keepers[k.m%safekeeper3+1]
		k.kill()
		other.kill()
		return fmt.Sprint(k.m, other.m), func() { w.startKeeper(k); w.startKeeper(other) }
	}},
	{name: "a safekeeper hangs", begin: func(w *world) (string, func()) {
		k := w.anyKeeper()
		k.signal(syscall.SIGSTOP)
		return k.m.String(), func() { k.signal(syscall.SIGCONT) }
	}},
	{name: "safekeepers are restarted in turn", begin: (*world).rollingRestart, needsAll: true},
	{name: "the disk of a safekeeper is full", begin: (*world).fullDisk, needsAll: true},
	{name: "the walproposer is killed", begin: func(w *world) (string, func()) {
		db := w.primary.Load()
		signalAll(db.walproposers(), syscall.SIGKILL)
		return db.m.String(), db.restartWalproposer
	}},
	{name: "a process of the walproposer is killed", begin: func(w *world) (string, func()) {
		db := w.primary.Load()
		all := db.walproposers()
		victim := w.rng.IntN(len(all))
		signalAll(all[victim:victim+1], syscall.SIGKILL)
		return fmt.Sprintf("process %d of %d", victim+1, len(all)), db.restartWalproposer
	}},
	{name: "a process of the walproposer hangs", begin: func(w *world) (string, func()) {
		all := w.primary.Load().walproposers()
		victim := w.rng.IntN(len(all))
		signalAll(all[victim:victim+1], syscall.SIGSTOP)
		return fmt.Sprintf("process %d of %d", victim+1, len(all)), func() { signalAll(all[victim:victim+1], syscall.SIGCONT) }
	}},
	{name: "the primary's machine hangs", begin: func(w *world) (string, func()) {
		all := w.primary.Load().processes()
		signalAll(all, syscall.SIGSTOP)
		return fmt.Sprint(len(all), " processes"), func() { signalAll(all, syscall.SIGCONT) }
	}},
	{name: "the primary's machine crashes and comes back", begin: (*world).crash},
	{name: "the clock of a machine is stepped", begin: (*world).stepClock},
}

// failovers are the ways in which the primary changes; each may come with a
// safekeeper less.
var failovers = []fault{
	{name: "failover from a dead primary", begin: func(w *world) (string, func()) {
		w.primary.Load().kill()
		return w.failOver("failover")
	}},
	{name: "failover from a primary that is cut off", begin: func(w *world) (string, func()) {
		w.isolate(w.primary.Load().m)
		return w.failOver("failover")
	}},
	{name: "failover from a living primary", begin: func(w *world) (string, func()) {
		return w.failOver("failover", "--yes")
	}},
	{name: "failover to those who lagged", begin: (*world).loseWhoIsAhead, needsAll: true},
	{name: "switchover", begin: func(w *world) (string, func()) {
		return w.failOver("switchover")
	}},
}

func (l link) String() string { return fmt.Sprintf("%s to %s", l.from, l.to) }

func (w *world) anyKeeper() *keeper { return w.keepers[safekeeper1+machine(w.rng.IntN(3))] }

func (w *world) anyMachine() machine {
	return safekeeper1 + machine(w.rng.IntN(int(endOfMachines-safekeeper1)))
}

// anyLink is one between a safekeeper and another machine.
func (w *world) anyLink() link {
	l := link{w.anyKeeper().m, w.anyMachine()}
	for l.to == l.from {
		l.to = w.anyMachine()
	}
	if w.rng.IntN(2) == 0 {
		l.from, l.to = l.to, l.from
	}
	return l
}

func (w *world) deafOrMute() (string, func()) {
	m, mute := w.anyMachine(), w.rng.IntN(2) == 0
	for other := safekeeper1; other < endOfMachines; other++ {
		switch {
		case other == m:
		case mute:
			w.cut(link{m, other})
		default:
			w.cut(link{other, m})
		}
	}
	return fmt.Sprintf("%s, mute=%t", m, mute), nil
}

func (w *world) startKeeper(k *keeper) { require.NoError(w.t, k.start(w.net)) }

func (w *world) rollingRestart() (string, func()) {
	for m := safekeeper1; m <= safekeeper3; m++ {
		k := w.keepers[m]
		k.stop()
		w.startKeeper(k)
		w.awaitCommits(10, 2)
	}
	return "all", nil
}

// restartWalproposer starts it again if it is gone, as a service manager does.
func (db *database) restartWalproposer() {
	db.world.eventually("the rest of the walproposer ends or lives", func() bool {
		all := db.walproposers()
		return len(all) == 0 || len(all) > 1
	})
	db.startWalproposer()
}

// crash kills everything on the primary's machine and starts it again as the
// service units do: not before it was checked.
func (w *world) crash() (string, func()) {
	db := w.primary.Load()
	db.kill()
	return db.m.String(), func() {
		out, code := db.check(false)
		require.Zero(w.t, code, out)
		db.startServer()
		db.startWalproposer()
	}
}

// stepClock moves the clock of a machine under its programs, there and back.
func (w *world) stepClock() (string, func()) {
	db := w.primary.Load()
	m, ours := db.m, w.rng.IntN(2) == 0
	step := time.Duration(w.rng.Int64N(int64(2*time.Hour))) - time.Hour
	switch {
	case w.clock.programs && ours:
		k := w.anyKeeper()
		m = k.m
		w.clock.set(m, step)
		w.requireClock(m, k.http, step)
	case w.clock.library != "":
		w.clock.set(m, step)
		w.requireServersClock(db.server, step)
		if w.clock.programs {
			w.requireClock(m, db.httpAddress(), step)
		}
	default:
		return "not here", nil
	}
	return fmt.Sprintf("%s by %s", m, step.Round(time.Second)), func() { w.clock.set(m, 0) }
}

// requireClock checks that a program of ours on m, if it answers while other things
// are broken, takes its machine's clock for the time.
func (w *world) requireClock(m machine, address string, step time.Duration) {
	header, _ := w.ask(m, address, "/livez")
	if header == nil {
		return
	}
	says, err := http.ParseTime(header.Get("Date"))
	require.NoError(w.t, err)
	require.InDelta(w.t, step.Seconds(), time.Until(says).Seconds(), cluster.Deadline.Seconds(), "the clock of %s", address)
}

func (w *world) requireServersClock(server *compute.Server, step time.Duration) {
	now, err := server.QueryValue(context.Background(), "SELECT extract(epoch FROM clock_timestamp())::bigint - "+fmt.Sprint(time.Now().Unix()))
	require.NoError(w.t, err)
	seconds, err := strconv.ParseFloat(now, 64)
	require.NoError(w.t, err)
	require.InDelta(w.t, step.Seconds(), seconds, cluster.Deadline.Seconds(), "the server's clock")
}

// fullDisk fills the disk of a safekeeper and makes the primary write more than
// fits. Where it has no disk of its own every fsync fails.
func (w *world) fullDisk() (string, func()) {
	k := w.anyKeeper()
	if k.disk == "" {
		k.kill()
		k.env = []string{"WALHAVEN_FAILPOINTS=walstore/sync=error"}
		w.startKeeper(k)
		return k.m.String() + ", fsync fails", func() {
			k.kill()
			k.env = nil
			w.startKeeper(k)
		}
	}
	empty := k.fill(w.t)
	server := w.primary.Load().server
	for range 4 { // more than was prepared ahead
		require.NoError(w.t, server.Exec(context.Background(), "SELECT pg_logical_emit_message(false, 'chaos', 'full'); SELECT pg_switch_wal()"))
	}
	w.eventually("the safekeeper says that its disk is full", func() bool {
		_, body := cluster.Get(w.t, "http://"+k.http+"/readyz")
		return strings.Contains(body, "disk")
	})
	return k.m.String(), empty
}

// loseWhoIsAhead loses the primary, and with it the safekeeper that alone had its
// last WAL: the other two were cut off for a while. Nothing that only one had may have
// been acknowledged.
func (w *world) loseWhoIsAhead() (string, func()) {
	db, ahead := w.primary.Load(), w.anyKeeper()
	for _, k := range w.keepers {
		if k != ahead {
			w.isolate(k.m)
		}
	}
	w.hold(time.Second)
	db.kill()
	ahead.kill()
	w.heal()
	what, end := w.failOver("failover")
	return what + " without " + ahead.m.String(), func() { w.startKeeper(ahead); end() }
}

// failOver makes the standby the primary with the operator's tool, run on its
// machine, and then a standby of the old primary, which learns what happened first.
func (w *world) failOver(verb string, more ...string) (string, func()) {
	old, next := w.primary.Load(), w.standby()
	next.takeClusterFile(old)
	began := time.Now()
	out, code := w.walhaven(next.m, append([]string{
		verb, "--dir", next.clusterDir(), "--to", next.conninfo(next.m), "--listen-http", next.httpAddress(),
	}, more...)...)
	require.Zero(w.t, code, "%s from %s: %s", verb, old.m, out)
	took := time.Since(began)
	w.primary.Store(next)
	old.leave()
	return fmt.Sprintf("%s to %s in %s", old.m, next.m, took.Round(time.Millisecond)), func() {
		w.hold(time.Second) // The old one, reachable again, finds out that it is no primary.
		old.kill()
		w.awaitCommits(20, 4)
		w.requireNothingLost()
		if old.rejoin(next) {
			w.faults["(an old primary had to be made anew)"]++
		}
	}
}
