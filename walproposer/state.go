package walproposer

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/wal"
)

// phase is the walproposer's word for what it is doing.
type phase string

const (
	stateConnecting  phase = "connecting"
	stateWaiting     phase = "waiting"
	stateCampaigning phase = "campaigning"
	stateStreaming   phase = "streaming"
	stateRefused     phase = "refused"
)

// stalledAfter is how old WAL may be without the quorum having it before
// commits count as stalled.
const stalledAfter = 3 * time.Second

// state is what the walproposer says of itself.
type state struct {
	mu     sync.Mutex
	phase  phase
	reason string
	since  time.Time
	t      *term // of the session at hand; nil: none
	queue  queue
	commit wal.LSN // of the last session
	term   wal.Term

	stuck    map[int]string // by peer: why it cannot be filled
	postgres *daemon.Check
	outlook  *outlook
	waits    string // what Status says about waits that are cancelled
}

func newState(h *daemon.Health) *state {
	s := &state{outlook: newOutlook(), stuck: map[int]string{}, phase: stateConnecting, since: time.Now(), reason: "starting"}
	if h != nil {
		h.CheckFunc(checkQuorum, s.acknowledged)
		h.CheckFunc(checkMembers, s.filled)
		s.postgres = h.Check(checkPostgres)
	}
	return s
}

func (s *state) set(p phase, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setLocked(p, reason)
}

func (s *state) setLocked(p phase, reason string) {
	if s.phase != p {
		s.since = time.Now()
	}
	s.phase, s.reason = p, reason
}

// enter and leave bracket a session that may get a term.
func (s *state) enter(t *term, q queue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.t, s.queue = t, q
}

func (s *state) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commit, s.term = max(s.commit, s.t.d.CommitLSN()), max(s.term, s.t.d.Term())
	s.t, s.queue = nil, nil
	clear(s.stuck)
}

// unfillable takes why a peer cannot be filled, "" when it has caught up, and says
// whether that is news.
func (s *state) unfillable(peer int, reason string) (news bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.stuck[peer]
	if reason == "" {
		delete(s.stuck, peer)
	} else {
		s.stuck[peer] = reason
	}
	return (was == "") != (reason == "")
}

// filled is the check that every member either has all WAL or is being fed.
func (s *state) filled() (bool, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	peers := slices.Sorted(maps.Keys(s.stuck))
	reasons := make([]string, len(peers))
	for i, peer := range peers {
		reasons[i] = s.stuck[peer]
	}
	return len(reasons) == 0, strings.Join(reasons, "; ")
}

// streaming says that the quorum acknowledges.
func (s *state) streaming() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase != stateStreaming {
		s.setLocked(stateStreaming, "")
	}
}

// checked takes the findings about PostgreSQL's settings; "" is well.
func (s *state) checked(reason string) {
	switch {
	case s.postgres == nil:
	case reason == "":
		s.postgres.OK()
	default:
		s.postgres.Fail(reason)
	}
}

// cancelled takes why waits that are cancelled are not seen, "" when they are, with how
// many bytes of PostgreSQL's log are still to be read, and says whether that is news.
func (s *state) cancelled(reason string, unread int64) (news bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.waits
	switch s.waits = cancelledSeen; {
	case reason != "":
		s.waits = cancelledNotSeen + reason
	case unread > 0:
		s.waits += fmt.Sprintf(", with %d MiB of PostgreSQL's log still to be read", (unread+1<<20-1)>>20)
	}
	return s.waits != was
}

// acknowledged is the readiness check: commits are being acknowledged by a
// quorum.
func (s *state) acknowledged() (bool, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acknowledgedLocked()
}

func (s *state) acknowledgedLocked() (bool, string) {
	switch {
	case s.phase != stateStreaming || s.t == nil:
		return false, string(s.phase) + ": " + s.reason + s.outlook.forecast().String()
	case s.t.d.OldestUncommitted() > stalledAfter:
		return false, fmt.Sprintf("WAL has been waiting for a quorum for %s%s", s.t.d.OldestUncommitted().Round(time.Second), s.outlook.forecast())
	}
	// Nothing may be waiting only because nothing is written.
	if n, needed := s.t.attendance.count(silentFor), s.t.needed(); n < needed {
		return false, fmt.Sprintf("%d of the safekeepers %s, and a quorum is %d%s", n, answers(n), needed, s.outlook.forecast())
	}
	return true, ""
}

func answers(n int) string {
	if n == 1 {
		return "answers"
	}
	return "answer"
}

// Status is the answer to GET /v1/status.
type Status struct {
	PID       int       `json:"pid"`
	TapPID    int       `json:"tap_pid"`
	PushPIDs  []int     `json:"push_pids"`
	Term      string    `json:"term"`
	CommitLSN wal.LSN   `json:"commit_lsn"`
	HeadLSN   wal.LSN   `json:"head_lsn"`
	Elected   bool      `json:"elected"`
	State     string    `json:"state"`
	Since     time.Time `json:"since"`
	Reason    string    `json:"reason"`
	// Live safekeepers stream and have answered lately, the same ones since LiveSince.
	Live      int       `json:"live_safekeepers"`
	LiveSince time.Time `json:"live_since,omitzero"`
	// CancelledWaits says whether commits that stop waiting for the quorum are seen in
	// PostgreSQL's log: "seen", with how much is still to be read if it is much, or "not
	// seen" with the reason; "" before the first look.
	CancelledWaits string `json:"cancelled_waits,omitempty"`
}

// lastTerm is the highest term of this walproposer.
func (s *state) lastTerm() wal.Term {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.t == nil {
		return s.term
	}
	return max(s.term, s.t.d.Term())
}

// status describes the moment. In one process all parts have its process ID.
func (s *state) status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Status{
		PID: os.Getpid(), TapPID: os.Getpid(), PushPIDs: []int{os.Getpid()},
		CommitLSN: s.commit, State: string(s.phase), Since: s.since, Reason: s.reason,
		CancelledWaits: s.waits,
	}
	term := s.term
	if s.t != nil {
		if ok, why := s.acknowledgedLocked(); !ok && s.phase == stateStreaming {
			out.State, out.Reason = string(stateWaiting), why
			if wait := s.t.d.OldestUncommitted(); wait > 0 {
				out.Since = time.Now().Add(-wait)
			}
		}
		term, out.Elected = max(term, s.t.d.Term()), s.t.d.Election() != nil
		out.CommitLSN, out.HeadLSN = max(s.commit, s.t.d.CommitLSN()), s.queue.Head()
		out.Live, out.LiveSince = s.t.attendance.count(liveFor), s.t.attendance.since()
	}
	out.Term = strconv.FormatUint(uint64(term), 10)
	return out
}
