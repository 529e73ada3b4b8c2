package walproposer

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/walhaven/walhaven/internal/seqpacket"
)

const (
	// idleWait is how long the loop sleeps when nothing is due.
	idleWait = time.Minute
	// registerWithin is how long a child may take to report after its start.
	registerWithin = 10 * time.Second
	// tapSilence is how long the tap may say nothing; it says each second that it
	// lives.
	tapSilence = 15 * time.Second
)

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
	if s.tap.now == nil || !s.tap.now.registered {
		return []*place{&s.tap}
	}
	return append([]*place{&s.tap}, s.workerPlaces()...)
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

func (s *supervisor) registered(c *child) {
	c.registered = true
	if s.pending == c {
		s.pending = nil
	}
}

// overdue kills who has not reported in time.
func (s *supervisor) overdue(now time.Time) {
	if c := s.pending; c != nil && !now.Before(s.deadline) {
		s.pending = nil // the next start does not wait for its end
		c.kill(fmt.Sprintf("it did not report within %s", registerWithin))
	}
}
