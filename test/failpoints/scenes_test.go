package failpoints

import (
	"context"
	"fmt"
	"os"
	"syscall"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
)

// scene is what makes a program pass a fail point when the writer alone does
// not.
type scene struct {
	// victims are the daemons that are armed; nil: the first of the program.
	victims func(h *harness) []string
	// env is given to the victims besides the fail point.
	env []string
	// rules are further fail points of the victims.
	rules string
	// before runs while the victims are down, before they are started armed.
	before func(h *harness, victim string)
	// act runs once the armed victims are ready; nil: they may die at any moment.
	act func(h *harness, victim string)
}

var (
	// election: a new walproposer asks for votes.
	election = scene{act: func(h *harness, _ string) { h.restart(walproposer) }}

	// segmentEnd: the open segment is closed.
	segmentEnd = scene{act: func(h *harness, _ string) { h.switchSegment() }}

	// pusher: the pageserver takes WAL from the victim, because each other one
	// that it takes WAL from goes.
	pusher = scene{
		victims: func(h *harness) []string { return others(h.activePusher())[:1] },
		act:     func(h *harness, victim string) { h.makePusher(victim) },
	}

	// follower: somebody reads by START_REPLICATION and asks for an answer.
	follower = scene{act: func(h *harness, victim string) { h.follow(victim) }}

	// shutdown: the safekeeper ends in order while somebody reads.
	shutdown = scene{act: func(h *harness, victim string) {
		h.follow(victim)
		h.c.Signal(victim, syscall.SIGTERM)
	}}

	// slot: a replication slot is made.
	slot = scene{act: func(h *harness, victim string) { h.createSlot(victim) }}

	// donor: a safekeeper missed what a new walproposer does not have in its
	// queue, so that the others must give it.
	donor = scene{
		victims: func(*harness) []string { return []string{"safekeeper-2", "safekeeper-3"} },
		act:     func(h *harness, _ string) { h.letLag("safekeeper-1") },
	}

	// fed: the same, seen from the walproposer, which reads what it feeds.
	fed = scene{act: func(h *harness, _ string) { h.letFeed("safekeeper-1") }}

	// peers: a safekeeper that missed something and hears no writer asks the
	// others.
	peers = scene{
		before: func(h *harness, _ string) {
			h.confirmMuch()
			h.c.Kill(walproposer)
		},
		act: func(*harness, string) {},
	}

	// founding: a pageserver with an empty disk takes the timeline over.
	founding = scene{before: func(h *harness, _ string) {
		require.NoError(h.t, os.RemoveAll(h.c.Pageservers[0].DataDir))
	}}

	// failedWrite: a write fails, so that the timeline is fenced.
	failedWrite = scene{rules: "walstore/segment/write@20=error"}

	// fenced: a fenced timeline is opened again.
	fenced = scene{before: func(h *harness, victim string) {
		h.start(victim, failpoints("walstore/segment/write@20=error"))
		h.until("a failed write fences the timeline", func() bool { return h.isFenced(victim) })
		h.c.Kill(victim)
	}}

	// smallQueue: the queue is full and begins to overwrite. It may be a segment
	// larger than asked for, to read from the start of one.
	smallQueue = scene{
		env: []string{"WALHAVEN_WALPROPOSER_QUEUE_SIZE=4MiB"},
		act: func(h *harness, _ string) {
			h.w.Await(1) // it leads
			h.writeMuch(24)
		},
	}

	// fullQueue: there is no quorum that would let it do so.
	fullQueue = scene{
		env: smallQueue.env,
		act: func(h *harness, _ string) {
			h.w.Await(1) // it leads
			h.c.Kill("safekeeper-1")
			h.c.Kill("safekeeper-2")
			h.writeMuch(24)
		},
	}
)

func failpoints(rules string) string { return "WALHAVEN_FAILPOINTS=" + rules }

// others are the safekeepers but one.
func others(name string) (names []string) {
	for id := 1; id <= 3; id++ {
		if other := fmt.Sprintf("safekeeper-%d", id); other != name {
			names = append(names, other)
		}
	}
	return names
}

// restart kills a daemon and starts it again.
func (h *harness) restart(name string) {
	h.t.Helper()
	h.c.Kill(name)
	h.start(name)
}

// letLag has name miss WAL that only the others have.
func (h *harness) letLag(name string) {
	h.t.Helper()
	h.c.Kill(name)
	h.w.Await(50)
	h.restart(walproposer)
	h.awaitMember(walproposer)
	h.w.Await(1)
	h.start(name)
}

// letFeed has name miss WAL that the quorum has confirmed, so that the next
// walproposer's queue begins behind it, until a walproposer feeds it. After a
// second without a writer a safekeeper takes what it lacks from the others
// itself; when it was faster than the walproposer, it has to miss something again.
func (h *harness) letFeed(name string) {
	h.t.Helper()
	for {
		h.c.Kill(name)
		end := h.confirmMuch()
		h.end(walproposer)
		h.start(walproposer, h.env...)
		h.awaitMember(walproposer)
		h.start(name)
		var fed bool
		h.until(name+" has "+end.String(), func() bool {
			_, fed = h.reached()
			return fed || h.position(h.c.Safekeepers[h.id(name)-1].PG, "flush_lsn") >= end
		})
		if fed {
			return
		}
	}
}

// makePusher ends every safekeeper that the pageserver takes WAL from until it
// is name's turn.
func (h *harness) makePusher(name string) {
	h.t.Helper()
	h.until(name+" pushes", func() bool {
		if _, ok := h.reached(); ok {
			return true
		}
		if active := h.pusherNow(); active != "" && active != name {
			h.restart(active)
			h.awaitMember(active)
		}
		return false
	})
}

func (h *harness) switchSegment() {
	h.t.Helper()
	_, err := h.c.Server.Query(context.Background(), "SELECT pg_switch_wal()")
	require.NoError(h.t, err)
}

// writeMuch writes so many megabytes of WAL in a commit that does not wait for
// the quorum.
func (h *harness) writeMuch(megabytes int) {
	h.t.Helper()
	_, err := h.c.Server.Query(context.Background(), fmt.Sprintf(
		"SET synchronous_commit = local; SELECT pg_logical_emit_message(true, 'failpoints', repeat('x', %d))", megabytes<<20))
	require.NoError(h.t, err)
}

// confirmMuch writes some megabytes of WAL and waits until PostgreSQL has been told
// that a quorum has them. Returns their end.
func (h *harness) confirmMuch() wal.LSN {
	h.t.Helper()
	h.writeMuch(4)
	end := h.target()
	h.until("the quorum has "+end.String(), func() bool { return h.reported() >= end })
	return end
}
