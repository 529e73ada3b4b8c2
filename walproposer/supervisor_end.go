package walproposer

import "time"

// reapWithin bounds waiting for killed children at the end. One in an
// uninterruptible sleep is left to the system.
const reapWithin = 5 * time.Second

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
	if often {
		s.logger.Error("a process dies again and again", "process", p.String(), "deaths", len(p.restarts.deaths), "within", oftenWithin, "cause", why)
		return
	}
	s.logger.Warn("a process ended and is started again", "process", p.String(), "cause", why, "pause", pause)
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
