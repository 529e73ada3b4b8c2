package daemon

import (
	"sync"
	"time"
)

// Health is the list of a program's checks, which /readyz shows. It is ready
// when every check is.
type Health struct {
	now func() time.Time

	mu     sync.Mutex
	checks []*Check // In the order of registration.
}

// Check is one named condition of being ready. Its methods may be called from
// any goroutine.
type Check struct {
	name string
	now  func() time.Time
	poll func() (ok bool, reason string) // Nil for a check that is told.

	mu     sync.Mutex
	ok     bool
	reason string
	since  time.Time
}

// CheckStatus is a check at one moment.
type CheckStatus struct {
	Name   string    `json:"name"`
	OK     bool      `json:"ok"`
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since"` // When OK last changed.
}

// NewHealth returns a Health without checks.
func NewHealth() *Health { return &Health{now: time.Now} }

// Check adds a check that fails with reason "starting" until it is told
// otherwise. Names are unique by convention: kebab-case, what must hold
// ("quorum", "wal-disk").
func (h *Health) Check(name string) *Check {
	return h.add(&Check{name: name, now: h.now, reason: "starting", since: h.now()})
}

// CheckFunc adds a check that asks f each time that health is looked at. f must
// be quick and not block.
func (h *Health) CheckFunc(name string, f func() (ok bool, reason string)) *Check {
	return h.add(&Check{name: name, now: h.now, poll: f, reason: "starting", since: h.now()})
}

func (h *Health) add(c *Check) *Check {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checks = append(h.checks, c)
	return c
}

// Remove takes c off the list, such as the check of a timeline that is gone.
func (h *Health) Remove(c *Check) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, other := range h.checks {
		if other == c {
			h.checks = append(h.checks[:i:i], h.checks[i+1:]...)
			return
		}
	}
}

// Status returns all checks in the order of registration, and whether all are
// well. A program without checks is not ready: nothing vouches for it.
func (h *Health) Status() (ready bool, checks []CheckStatus) {
	h.mu.Lock()
	all := append([]*Check(nil), h.checks...)
	h.mu.Unlock()
	ready = len(all) > 0
	for _, c := range all {
		status := c.Status()
		ready = ready && status.OK
		checks = append(checks, status)
	}
	return ready, checks
}

// OK says that the condition holds.
func (c *Check) OK() { c.set(true, "") }

// Fail says that the condition does not hold and why, in words for an operator.
// The time since when is kept while only the reason changes.
func (c *Check) Fail(reason string) { c.set(false, reason) }

// Status returns the check as of now.
func (c *Check) Status() CheckStatus {
	if c.poll != nil {
		c.set(c.poll())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return CheckStatus{Name: c.name, OK: c.ok, Reason: c.reason, Since: c.since}
}

func (c *Check) set(ok bool, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ok != c.ok {
		c.since = c.now()
	}
	c.ok, c.reason = ok, reason
}
