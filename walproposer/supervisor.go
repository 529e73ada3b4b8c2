package walproposer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/internal/seqpacket"
)

const (
	// registerWithin is how long a child may take to report after its start.
	registerWithin = 10 * time.Second
	// tapSilence is how long the tap may say nothing; it says each second that it
	// lives.
	tapSilence = 15 * time.Second
	// stopWithin is how long the tap may take to bring WAL in flight to the quorum
	// and end, when it is told to stop.
	stopWithin = drainFor + 3*time.Second
	// reapWithin bounds waiting for killed children at the end. One in an
	// uninterruptible sleep is left to the system.
	reapWithin = 5 * time.Second
)

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

// idleWait is how long the loop sleeps when nothing is due.
const idleWait = time.Minute

// startWhatIsDue starts the tap, then workers, one at a time: the next only when
// the last has reported. It returns how long to wait at most.
func (s *supervisor) startWhatIsDue(now time.Time) time.Duration {
	if s.stopping {
		return idleWait
	}
	if s.pending != nil {
		return max(0, s.deadline.Sub(now))
	}
	wait := idleWait
	for _, p := range s.places() {
		if p.now != nil {
			continue
		}
		if left := p.next.Sub(now); left > 0 {
			wait = min(wait, left)
			continue
		}
		if err := s.start(p); err != nil {
			s.failed(p, 0, err.Error())
			continue
		}
		s.deadline = now.Add(registerWithin)
		return registerWithin
	}
	return wait
}

// places are those that may be filled now: workers need a tap.
func (s *supervisor) places() []*place {
	all := []*place{&s.tap}
	if s.tap.now != nil && s.tap.now.registered {
		for i := range s.workers {
			all = append(all, &s.workers[i])
		}
	}
	return all
}

// start starts the child of a place and makes it the pending one.
func (s *supervisor) start(p *place) error {
	s.number++
	id := workerID{Peer: p.peer, Number: s.number}
	args, o := []string{p.kind}, order{Start: &startOrder{Log: s.log, Peer: p.peer}}
	var files []*os.File
	var theirs *os.File
	if p.kind == childTap {
		options := s.o
		options.Takeover = s.takeover
		o.Start.Options = &options
	} else {
		args = append(args, strconv.Itoa(p.peer+1))
		ours, f, err := seqpacket.PairFiles()
		if err != nil {
			return err
		}
		theirs, files = ours, []*os.File{f}
	}
	cmd, control, err := s.spawn.spawn(args, !p.started, files...)
	seqpacket.Close(files)
	if err != nil {
		if theirs != nil {
			err = errors.Join(err, theirs.Close())
		}
		return err
	}
	c := newChild(p.kind, id, s.number, cmd, control)
	p.now, p.started, s.pending = c, true, c
	s.watch(c)
	c.order(o)
	if theirs != nil {
		s.tap.now.order(order{Worker: &id}, theirs)
	}
	s.logger.Debug("child started", "child", c.String(), "pid", c.pid())
	return nil
}

// watch runs the goroutines of a child, which end with it.
func (s *supervisor) watch(c *child) {
	silence := time.Duration(0)
	if c.kind == childTap {
		silence = tapSilence
	}
	s.roster.add(c)
	s.group.Go(c.write)
	var read sync.WaitGroup
	read.Go(func() { c.read(s.events, s.done, silence) })
	s.group.Go(func() {
		err := c.cmd.Wait()
		read.Wait() // what it said last comes first
		close(c.dead)
		_ = c.control.c.Close()
		s.roster.remove(c)
		s.tally.gone(c.number)
		select {
		case s.events <- event{c: c, exited: true, err: err}:
		case <-s.done:
		}
	})
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

func (s *supervisor) registered(c *child) {
	c.registered = true
	if s.pending == c {
		s.pending = nil
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

// overdue kills who has not reported in time.
func (s *supervisor) overdue(now time.Time) {
	if c := s.pending; c != nil && !now.Before(s.deadline) {
		s.pending = nil // the next start does not wait for its end
		c.kill(fmt.Sprintf("it did not report within %s", registerWithin))
	}
}

// exited handles the end of a child that was waited for.
func (s *supervisor) exited(c *child, err error) {
	if s.pending == c {
		s.pending = nil
	}
	p := &s.tap
	if c.kind == childPush {
		p = &s.workers[c.id.Peer]
		if s.tap.now != nil {
			s.tap.now.order(order{Reaped: &c.id})
		}
	}
	if p.now != c {
		return
	}
	p.now = nil
	if c.kind == childTap {
		s.dismiss("its tap is gone")
	}
	if c.expected || s.stopping || c.kind == childPush && err == nil {
		// A worker ends in order when the tap is done with it.
		p.next = time.Now().Add(restartFirst)
		return
	}
	s.failed(p, time.Since(c.began), deathOf(c, err))
}

// dismiss kills all workers: they belong to a tap that is gone, and their memory
// with it. Their places are free at once, for nothing that a worker can do holds
// up the next generation.
func (s *supervisor) dismiss(cause string) {
	s.pending = nil
	for i := range s.workers {
		if c := s.workers[i].now; c != nil {
			c.kill(cause)
			s.workers[i].now = nil
		}
	}
}

// deathOf says how a child ended.
func deathOf(c *child, err error) string {
	switch {
	case c.cause != "":
		return c.cause
	case err != nil:
		return err.Error()
	}
	return "it ended by itself"
}

// failed schedules the next start.
func (s *supervisor) failed(p *place, lived time.Duration, why string) {
	now := time.Now()
	pause, often := p.restarts.died(now, lived)
	p.next, p.why = now.Add(pause), why
	s.metrics.died(p.kind)
	name := (&child{kind: p.kind, id: workerID{Peer: p.peer}}).String()
	if often {
		s.logger.Error("a process dies again and again", "process", name, "deaths", len(p.restarts.deaths), "within", oftenWithin, "cause", why)
		return
	}
	s.logger.Warn("a process ended and is started again", "process", name, "cause", why, "pause", pause)
}

// report says in the readiness check which processes are missing.
func (s *supervisor) report() {
	if s.check == nil {
		return
	}
	now := time.Now()
	var wrong []string
	for _, p := range append([]*place{&s.tap}, s.workerPlaces()...) {
		name := (&child{kind: p.kind, id: workerID{Peer: p.peer}}).String()
		switch {
		case p.restarts.often(now):
			wrong = append(wrong, fmt.Sprintf("%s died %d times within %s: %s", name, len(p.restarts.deaths), oftenWithin, p.why))
		case p.kind == childTap && p.now == nil:
			wrong = append(wrong, fmt.Sprintf("%s is not there: %s", name, or(p.why, "starting")))
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

// endAll kills who is left and waits for them, for some time. It says whether
// all are gone.
func (s *supervisor) endAll() bool {
	s.stopping = true
	left := s.roster.children()
	for _, c := range left {
		_ = c.cmd.Process.Kill()
	}
	limit := time.NewTimer(reapWithin)
	defer limit.Stop()
	for s.roster.count() > 0 {
		select {
		case <-s.events:
		case <-s.roster.changed():
		case <-limit.C:
			return false
		}
	}
	return true
}
