package replication

import (
	"errors"
	"fmt"
	"time"

	"github.com/walhaven/walhaven/internal/invariant"
)

const (
	// maxUnsynced is how many bytes of WAL one session takes in before it has them
	// synced, though more is waiting.
	maxUnsynced = 1 << 20
	// maxAhead is how many it takes in while that goes on.
	maxAhead = 8 << 20
)

// debt is what a session owes its proposer: a sync of what it took.
type debt struct {
	owing bool
	since time.Time
	bytes int
}

func (d *debt) owe() {
	if !d.owing {
		d.owing, d.since = true, time.Now()
	}
}

// pay syncs what is owed once nothing more is waiting, so that one sync covers all
// that has arrived. In the middle of a bulk load that never is, and WAL is taken while
// the disk works: the longer a sync lasts, the more the next one covers. The session
// does not wait for its peer while one runs.
func (s *pushSession) pay() error {
	switch {
	case !s.debt.owing && s.aside == nil:
		return nil
	case !s.hasMore():
		return s.payAll()
	case s.debt.bytes < maxUnsynced, s.aside != nil && len(s.aside) == 0 && s.debt.bytes < maxAhead:
		return nil
	}
	if err := s.awaitAside(); err != nil {
		return err
	}
	owed, done := s.debt, make(chan error, 1)
	s.debt, s.aside = debt{}, done
	go func() { done <- s.sync(owed) }()
	return nil
}

// payAll syncs all that is owed, and has no sync run when it returns.
func (s *pushSession) payAll() error {
	var err error
	if owed := s.debt; owed.owing {
		s.debt = debt{}
		err = s.sync(owed)
	}
	return errors.Join(s.awaitAside(), err)
}

// awaitAside waits for the sync that runs, if one does.
func (s *pushSession) awaitAside() error {
	if s.aside == nil {
		return nil
	}
	err := <-s.aside
	s.aside = nil
	return err
}

// sync makes durable what was appended, here and elsewhere, and sends the
// answers that this made possible.
func (s *pushSession) sync(owed debt) error {
	a := s.accepting
	invariant.Point("accepting/sync/before")
	if err := a.log.Sync(); err != nil {
		return diskError(fmt.Errorf("sync WAL: %w", err))
	}
	invariant.Point("accepting/sync/after")
	if err := s.synced(); err != nil {
		return err
	}
	err := s.deliver()
	a.metrics.answer.Observe(time.Since(owed.since).Seconds())
	return err
}

func (s *pushSession) synced() error {
	a := s.accepting
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.ended != nil {
		return s.ended
	}
	// Read under the lock: the log may have been cut while the sync ran.
	p := a.log.Positions()
	effects := a.acceptor.Synced(p.Flush, p.FlushRecord)
	return a.execute(s, &effects)
}
