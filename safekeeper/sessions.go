package safekeeper

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/protocol/walstream"
	"github.com/walhaven/walhaven/wal"
)

// streamKind tells the streams of a timeline apart.
type streamKind string

const (
	kindReceiver streamKind = "receiver" // START_WAL_PUSH: a proposer sends
	kindSender   streamKind = "sender"   // START_REPLICATION: we send
)

// stream is one open stream of a timeline, for SHOW SENDERS and RECEIVERS.
type stream struct {
	kind        streamKind
	pid         uint32
	application string
	user        string
	remote      string
	slot        string
	started     time.Time
	fills       bool // a member is filled with what it reads

	mu       sync.Mutex
	sent     wal.LSN
	reported walstream.StatusUpdate
	replied  time.Time
	hot      pushwal.HotStandbyFeedback
}

func newStream(kind streamKind, s *protocol.Session, slot string) *stream {
	return &stream{
		kind: kind, pid: s.PID, application: s.ApplicationName, user: s.Identity.User,
		remote: s.Remote.String(), slot: slot, started: time.Now(),
	}
}

// streamView is a moment of a stream.
type streamView struct {
	sent     wal.LSN
	reported walstream.StatusUpdate
	replied  time.Time
}

func (s *stream) view() streamView {
	s.mu.Lock()
	defer s.mu.Unlock()
	return streamView{sent: s.sent, reported: s.reported, replied: s.replied}
}

func (s *stream) noteSent(lsn wal.LSN) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = lsn
}

func (s *stream) noteStatus(m *walstream.StatusUpdate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reported, s.replied = *m, time.Now()
}

// sessionSet holds the open streams of a timeline.
type sessionSet struct {
	mu      sync.Mutex
	streams map[*stream]struct{}
	changed chan struct{} // closed and replaced when a stream leaves
	left    []filled      // streams that filled a member and have gone
}

// filled is how far a stream came that filled a member.
type filled struct {
	at wal.LSN
	on time.Time // when it went
}

// fillGrace is how long WAL stays for a member after the one that filled it has gone: it
// comes again, or another one, and goes on there.
const fillGrace = time.Minute

func newSessionSet() *sessionSet {
	return &sessionSet{streams: map[*stream]struct{}{}, changed: make(chan struct{})}
}

func (s *sessionSet) add(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams[st] = struct{}{}
}

func (s *sessionSet) remove(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, st)
	if st.fills {
		s.left = append(s.left, filled{st.view().sent, time.Now()})
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

// waitNone waits until no stream of the kind is open; false says that ctx was
// done first.
func (s *sessionSet) waitNone(ctx context.Context, kind streamKind) bool {
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if len(s.list(kind)) == 0 {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// filling is the lowest position from which a member is being filled, or was until
// lately, 0 when none is.
func (s *sessionSet) filling(now time.Time) (low wal.LSN) {
	from := func(at wal.LSN) {
		if low == 0 || at < low {
			low = at
		}
	}
	for _, st := range s.list(kindSender) {
		if st.fills {
			from(st.view().sent)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = slices.DeleteFunc(s.left, func(f filled) bool { return now.Sub(f.on) >= fillGrace })
	for _, f := range s.left {
		from(f.at)
	}
	return low
}

// list returns the streams of one kind, oldest first.
func (s *sessionSet) list(kind streamKind) []*stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*stream
	for st := range s.streams {
		if st.kind == kind {
			out = append(out, st)
		}
	}
	slices.SortFunc(out, func(a, b *stream) int {
		return cmp.Or(a.started.Compare(b.started), cmp.Compare(a.pid, b.pid))
	})
	return out
}

// hotStandby joins what the standbys behind this node still need: the oldest
// transactions, and the newest time.
func (s *sessionSet) hotStandby() pushwal.HotStandbyFeedback {
	var out pushwal.HotStandbyFeedback
	oldest := func(have *uint64, v uint64) {
		if v != 0 && (*have == 0 || v < *have) {
			*have = v
		}
	}
	for _, st := range s.list(kindSender) {
		st.mu.Lock()
		f := st.hot
		st.mu.Unlock()
		oldest(&out.Xmin, f.Xmin)
		oldest(&out.CatalogXmin, f.CatalogXmin)
		out.Time = max(out.Time, f.Time)
	}
	return out
}
