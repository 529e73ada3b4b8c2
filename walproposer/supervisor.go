package walproposer

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/walhaven/walhaven/internal/daemon"
)

// stopWithin is how long the tap may take to bring WAL in flight to the quorum and
// end, when it is told to stop.
const stopWithin = drainFor + 3*time.Second

// supervisor starts the tap and the push workers, watches them and starts them
// again. It maps no shared memory, decides nothing about WAL, and never waits on
// anything that a child can hold: all that it hears comes through one channel,
// all that it says goes into queues with an end.
type supervisor struct {
	o       Options
	log     daemon.LogConfig
	logger  *slog.Logger
	spawn   *spawner
	events  chan event
	done    chan struct{}  // closed when nobody hears events any more
	group   sync.WaitGroup // of goroutines of children
	metrics *supervisorMetrics
	tally   *tally
	check   *daemon.Check

	// Of the loop.
	number   uint64 // of children so far
	takeover bool
	refused  *Refusal
	stopping bool
	tap      place
	workers  []place
	pending  *child // start that has not reported yet
	deadline time.Time

	roster *roster
}

// place is where one child after the other works.
type place struct {
	kind     string
	peer     int
	now      *child
	next     time.Time // no start before
	restarts restarts
	started  bool
	why      string // the last death
}

func (p *place) String() string { return (&child{kind: p.kind, id: workerID{Peer: p.peer}}).String() }

func newSupervisor(o Options, d Deps) *supervisor {
	s := &supervisor{
		o: o, log: d.Log, logger: d.Logger, events: make(chan event), takeover: o.Takeover, tally: newTally(), roster: newRoster(len(o.Safekeepers)), done: make(chan struct{}),
		tap: place{kind: childTap}, workers: make([]place, len(o.Safekeepers)),
	}
	for i := range s.workers {
		s.workers[i] = place{kind: childPush, peer: i}
	}
	s.metrics = newSupervisorMetrics(d.Registerer, s)
	if d.Health != nil {
		for _, name := range tapChecks {
			d.Health.CheckFunc(name, func() (bool, string) { return s.tapCheck(name) })
		}
		s.check = d.Health.Check(checkProcesses)
	}
	return s
}

// run keeps a tap and a worker for each safekeeper going.
func (s *supervisor) run(ctx context.Context) error {
	s.logger.Info("walproposer starts", "instance", s.o.Instance, "safekeepers", len(s.o.Safekeepers), "slot", s.o.Slot, "pid", os.Getpid())
	s.spawn = newSpawner()
	stop := ctx.Done()
	var end <-chan time.Time
	for s.refused == nil && (!s.stopping || s.tap.now != nil) {
		wait := s.startWhatIsDue(time.Now())
		timer := time.NewTimer(wait)
		select {
		case e := <-s.events:
			s.take(e)
		case <-timer.C:
			s.overdue(time.Now())
		case <-stop:
			stop, s.stopping = nil, true
			if s.tap.now != nil {
				s.tap.now.expected = true
				s.tap.now.order(order{Stop: true})
			}
			limit := time.NewTimer(stopWithin)
			defer limit.Stop()
			end = limit.C
		case <-end:
			s.logger.Warn("the tap does not end in time and is killed")
			s.tap.now.kill("it did not end in time")
			end = nil
		}
		timer.Stop()
		s.report()
	}
	whole := s.endAll()
	close(s.done)
	s.spawn.close()
	if whole {
		s.group.Wait()
	}
	if s.refused != nil {
		s.logger.Error("refused", "reason", s.refused.Error(), "detail", s.refused.Detail, "hint", s.refused.Hint)
		return s.refused
	}
	s.logger.Info("walproposer stops")
	return nil
}

// take handles one event.
func (s *supervisor) take(e event) {
	switch {
	case e.exited:
		s.exited(e.c, e.err)
	case e.m.Samples != nil:
		s.tally.heard(e.c.number, e.m.Samples)
	case e.c.kind == childTap && e.c == s.tap.now:
		s.tapSays(e.m)
	}
}

func (s *supervisor) tapSays(m *message) {
	switch {
	case m.Ready:
		s.registered(s.tap.now)
	case m.Registered != nil:
		if c := s.worker(*m.Registered); c != nil {
			s.registered(c)
		}
	case m.Kill != nil:
		if c := s.worker(*m.Kill); c != nil {
			if m.Reason == "" {
				c.endSoon()
			} else {
				c.kill(m.Reason)
			}
		}
	case m.Places > 0:
		for len(s.workers) < min(m.Places, maxPeers) {
			s.workers = append(s.workers, place{kind: childPush, peer: len(s.workers)})
		}
	case m.Elected:
		s.takeover = false
	case m.Refused != nil:
		s.refused = &Refusal{Reason: m.Refused.Reason, Detail: m.Refused.Detail, Hint: m.Refused.Hint}
		s.roster.refuse(m.Refused.Reason)
	}
}

// worker is the live worker of that name, nil if there is none any more.
func (s *supervisor) worker(id workerID) *child {
	if id.Peer < 0 || id.Peer >= len(s.workers) {
		return nil
	}
	if c := s.workers[id.Peer].now; c != nil && c.id == id {
		return c
	}
	return nil
}

// report says in the readiness check which processes are missing.
func (s *supervisor) report() {
	if s.check == nil {
		return
	}
	now := time.Now()
	var wrong []string
	for _, p := range append([]*place{&s.tap}, s.workerPlaces()...) {
		switch {
		case p.restarts.often(now):
			wrong = append(wrong, fmt.Sprintf("%s died %d times within %s: %s", p, len(p.restarts.deaths), oftenWithin, p.why))
		case p.kind == childTap && p.now == nil:
			wrong = append(wrong, fmt.Sprintf("%s is not there: %s", p, cmp.Or(p.why, "starting")))
		}
	}
	if len(wrong) == 0 {
		s.check.OK()
	} else {
		s.check.Fail(strings.Join(wrong, "; "))
	}
}

func (s *supervisor) workerPlaces() (all []*place) {
	for i := range s.workers {
		all = append(all, &s.workers[i])
	}
	return all
}
