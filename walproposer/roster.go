package walproposer

import (
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/walhaven/walhaven/wal"
)

// roster is who lives, for those who look from outside the supervisor's loop.
type roster struct {
	mu      sync.Mutex
	live    map[uint64]*child
	tap     *child
	workers []*child // by peer
	moved   chan struct{}

	note   stateNote // of the tap, as last heard
	asked  time.Time
	failed bool // the last question had no answer
	since  time.Time
	// refused is why the tap ended for good, "" when it did not.
	refused string
}

func newRoster(peers int) *roster {
	return &roster{live: map[uint64]*child{}, workers: make([]*child, peers), moved: make(chan struct{}), since: time.Now()}
}

func (r *roster) add(c *child) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.live[c.number] = c
	if c.kind == childTap {
		r.tap = c
	} else {
		for c.id.Peer >= len(r.workers) {
			r.workers = append(r.workers, nil)
		}
		r.workers[c.id.Peer] = c
	}
}

func (r *roster) remove(c *child) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.live, c.number)
	if r.tap == c {
		r.tap, r.since = nil, time.Now()
	}
	if c.kind == childPush && r.workers[c.id.Peer] == c {
		r.workers[c.id.Peer] = nil
	}
	close(r.moved)
	r.moved = make(chan struct{})
}

// refuse notes that the tap has ended for good.
func (r *roster) refuse(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused, r.since = reason, time.Now()
}

func (r *roster) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.live)
}

// changed is closed when somebody has gone.
func (r *roster) changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.moved
}

func (r *roster) children() (all []*child) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.live {
		all = append(all, c)
	}
	return all
}

const (
	askPatience = time.Second
	// checkAge is how old an answer may be for a readiness check: all of one look
	// share it.
	checkAge = 100 * time.Millisecond
)

// state asks the tap, unless it has answered within age.
func (r *roster) state(age time.Duration) (note stateNote, ok bool) {
	r.mu.Lock()
	tap := r.tap
	if tap == nil || time.Since(r.asked) < age {
		defer r.mu.Unlock()
		return r.note, tap != nil && !r.failed
	}
	r.mu.Unlock()
	m, err := tap.ask(askState, askPatience)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked, r.failed = time.Now(), err != nil || m.State == nil
	if !r.failed {
		commit, term := r.note.Status.CommitLSN, r.note.Term
		r.note = *m.State
		r.note.Status.CommitLSN, r.note.Term = max(commit, r.note.Status.CommitLSN), max(term, r.note.Term)
	}
	return r.note, !r.failed
}

// status joins what the tap says with what the supervisor knows.
func (s *supervisor) status() Status {
	note, ok := s.roster.state(0)
	st := note.Status
	s.roster.mu.Lock()
	defer s.roster.mu.Unlock()
	st.PID, st.TapPID, st.PushPIDs = os.Getpid(), 0, []int{}
	st.Term = strconv.FormatUint(uint64(note.Term), 10)
	if s.roster.tap != nil {
		st.TapPID = s.roster.tap.pid()
	}
	for _, c := range s.roster.workers {
		if c != nil {
			st.PushPIDs = append(st.PushPIDs, c.pid())
		}
	}
	if s.roster.refused != "" {
		st.Elected, st.State, st.Since, st.Reason = false, string(stateRefused), s.roster.since, s.roster.refused
	} else if !ok {
		st.Elected, st.State, st.Since, st.Reason, st.HeadLSN = false, string(stateWaiting), s.roster.since, tapMissing, wal.LSN(0)
	}
	return st
}

const tapMissing = "the tap is being started, or does not answer"

// tapCheck is a readiness check that the tap knows about.
func (s *supervisor) tapCheck(name string) (bool, string) {
	note, ok := s.roster.state(checkAge)
	if !ok {
		return false, tapMissing
	}
	for _, c := range note.Checks {
		if c.Name == name {
			return c.OK, c.Reason
		}
	}
	return false, "starting"
}

// supervisorMetrics are the supervisor's own, and the way to its children's.
type supervisorMetrics struct {
	s        *supervisor
	restarts *prometheus.CounterVec
}

func newSupervisorMetrics(reg prometheus.Registerer, s *supervisor) *supervisorMetrics {
	m := &supervisorMetrics{s: s, restarts: promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "walhaven_walproposer_process_deaths_total", Help: "Child processes that ended unasked, by kind.",
	}, []string{"process"})}
	for _, kind := range []string{childTap, childPush} {
		m.restarts.WithLabelValues(kind)
	}
	if reg != nil {
		reg.MustRegister(m)
	}
	return m
}

func (m *supervisorMetrics) died(kind string) { m.restarts.WithLabelValues(kind).Inc() }

// Describe says nothing: which metrics there are, the children know.
func (m *supervisorMetrics) Describe(chan<- *prometheus.Desc) {}

// Collect asks all children at once and gives the sums.
func (m *supervisorMetrics) Collect(out chan<- prometheus.Metric) {
	var all sync.WaitGroup
	for _, c := range m.s.roster.children() {
		all.Go(func() {
			if a, err := c.ask(askMetrics, askPatience); err == nil {
				m.s.tally.heard(c.number, a.Samples)
			}
		})
	}
	all.Wait()
	for _, s := range m.s.tally.total() {
		if metric, err := s.metric(); err == nil {
			out <- metric
		}
	}
}
