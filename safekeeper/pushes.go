package safekeeper

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/walhaven/walhaven/internal/pause"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication/sender"
	"github.com/walhaven/walhaven/wal"
)

// Back-off between push sessions: short, for takeover within 2 s is promised.
const (
	pushBackoff      = 50 * time.Millisecond
	pushBackoffLimit = time.Second
)

// pushTarget is one pageserver that a timeline is pushed to.
type pushTarget struct {
	addr string

	mu        sync.Mutex
	connected bool
	since     time.Time // when connected last changed
	feedback  sender.PushFeedback
	err       error // why the last session ended
}

// pushView is a moment of a push target.
type pushView struct {
	connected bool
	since     time.Time
	feedback  sender.PushFeedback
	err       error
}

func (v pushView) state() string {
	switch {
	case !v.connected:
		return "disconnected"
	case v.feedback.Corruption:
		return "halted"
	case v.feedback.Active:
		return "pushing"
	}
	return "standby"
}

func (p *pushTarget) view() pushView {
	p.mu.Lock()
	defer p.mu.Unlock()
	return pushView{connected: p.connected, since: p.since, feedback: p.feedback, err: p.err}
}

func (p *pushTarget) note(f sender.PushFeedback) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.feedback = f
}

func (p *pushTarget) setConnected(up bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if up != p.connected {
		p.since = time.Now()
	}
	p.connected, p.err = up, err
	p.feedback.Active = p.feedback.Active && up
}

// pushSet holds a timeline's pageservers, fixed at the start.
type pushSet struct{ targets []*pushTarget }

func newPushSet(addresses []string) *pushSet {
	s := &pushSet{}
	for _, addr := range addresses {
		s.targets = append(s.targets, &pushTarget{addr: addr})
	}
	return s
}

func (s *pushSet) list() []*pushTarget { return s.targets }

// positions are what the pageservers no longer need of this node's WAL: what they
// have in an object store, or, with local, what is on their own disks.
func (s *pushSet) positions(local bool) []wal.LSN {
	out := make([]wal.LSN, len(s.targets))
	for i, p := range s.targets {
		f := p.view().feedback
		if out[i] = f.Remote; local {
			out[i] = max(f.Flush, f.Remote)
		}
	}
	return out
}

// push keeps one timeline pushed to one pageserver until ctx is done.
func (s *Server) push(ctx context.Context, t *timeline, p *pushTarget) {
	logger := t.logger.With("pageserver", p.addr)
	backoff := pushBackoff
	for ctx.Err() == nil {
		began, had := time.Now(), p.view().feedback.Flush
		err := s.pushOnce(ctx, t, p)
		s.pushes.Ended(err)
		if errors.Is(err, sender.ErrHistoryChanged) {
			p.setConnected(false, nil)
			backoff = pushBackoff
			continue
		}
		t.noteGap(p.addr, err)
		if was := p.view(); err != nil && ctx.Err() == nil && (was.err == nil || was.err.Error() != err.Error()) {
			logger.Warn("push to pageserver ended", "err", err)
		}
		p.setConnected(false, err)
		if p.view().feedback.Flush > had || time.Since(began) > pushBackoffLimit {
			backoff = pushBackoff
		}
		if pause.For(ctx, backoff) != nil {
			return
		}
		backoff = min(2*backoff, pushBackoffLimit)
	}
}

// pushOnce is one session. It outlives ctx by what sender.Push takes to drain.
func (s *Server) pushOnce(ctx context.Context, t *timeline, p *pushTarget) error {
	streaming, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stopDialling := context.AfterFunc(ctx, cancel)
	stream, err := s.dialPush(streaming, t, p.addr)
	if err != nil {
		return err
	}
	if !stopDialling() {
		return errors.Join(context.Cause(ctx), stream.Close())
	}
	p.setConnected(true, nil)
	c, status := t.store.Control(), t.accepting.Status()
	term := status.LastLogTerm
	return sender.Push(ctx, stream, sender.PushOptions{
		Source: t.accepting, Logger: t.logger, Metrics: s.pushes, Drain: s.o.PushDrain,
		Term: func() wal.Term { return term },
		Greeting: pushwal.ProposerGreeting{
			TTID: t.id, PGVersion: c.PGVersion, SystemID: c.SystemID, SegmentSize: c.SegmentSize,
			NodeID: pushwal.NodeID(s.dir.Identity.ID), Name: c.Name, Start: status.Origin(),
		},
		OnFeedback: func(f sender.PushFeedback) {
			p.note(f)
			s.relay(t, f)
		},
	})
}

// noteGap writes down that a pageserver asked for WAL that is gone: on a full disk
// that could not be done before it went.
func (t *timeline) noteGap(pageserver string, err error) {
	var lacks *sender.PushGapError
	if !errors.As(err, &lacks) {
		return
	}
	if _, err := t.gaps.widen(pageserver, lacks.Need, lacks.Oldest); err != nil {
		t.logger.Error("note gap", "pageserver", pageserver, "err", err)
	}
}

// filled closes the gap of a pageserver that has come by its WAL elsewhere.
func (t *timeline) filled(pageserver string, has wal.LSN) {
	switch closed, err := t.gaps.fill(pageserver, has); {
	case err != nil:
		t.logger.Error("close gap", "pageserver", pageserver, "err", err)
	case closed:
		t.logger.Info("a pageserver has got the WAL that it lacked", "pageserver", pageserver, "it_has", has)
	}
}

// relay tells the acceptor, and through it the proposers, what pageservers hold.
func (s *Server) relay(t *timeline, f sender.PushFeedback) {
	slowest := f.Remote
	for _, at := range t.pushes.positions(false) {
		slowest = min(slowest, at)
	}
	t.accepting.Report(slowest, 0)
	if f.Active {
		t.accepting.RelayPageserver(pushwal.PageserverFeedback{
			LastReceivedLSN: f.Write, DiskConsistent: f.Flush, RemoteConsistent: slowest,
			ReplyTime: wal.TimestampOf(f.At), Corruption: f.Corruption,
		})
	}
}

// pushCommand opens a push session; allow_timeline_creation is meant for the
// receiver's own copy, which it founds from our greeting.
var pushCommand = fmt.Sprintf("START_WAL_PUSH (proto_version '%d', walhaven '1', role 'pageserver', allow_timeline_creation 'true')",
	pushwal.Version3)
