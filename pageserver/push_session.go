package pageserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/protocol/walstream"
	"github.com/walhaven/walhaven/wal"
)

// pusherSilence is how long a pusher may say nothing; it sends a heartbeat every
// 500 ms.
const pusherSilence = 10 * time.Second

// pushSession is one connected pusher. It belongs to its session's goroutine, out
// to the flusher while that runs; what others read of it is guarded by the
// timeline's lock.
type pushSession struct {
	server   *Server
	stream   *protocol.CopyStream
	codec    pushwal.Codec
	session  *protocol.Session
	started  time.Time
	greeting pushwal.ProposerGreeting
	timeline *timeline
	frame    pushwal.AppendRequest
	out      []byte
}

// name is what logs and SHOW RECEIVERS call the pusher.
func (s *pushSession) name() string {
	if s == nil {
		return "none, it was pulled"
	}
	return fmt.Sprintf("safekeeper %d (%s)", s.greeting.NodeID, s.session.Remote)
}

// run serves the pusher until it leaves.
func (s *pushSession) run(ctx context.Context) error {
	s.stream.SetReadIdle(pusherSilence)
	if err := s.greet(); err != nil {
		return err
	}
	t := s.timeline
	t.mu.Lock()
	t.pushers.join(s, 0, time.Now())
	t.mu.Unlock()
	t.pages.setSource(s.name())
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.pushers.leave(s, time.Now())
		t.pages.setSource(s.name() + ", which has left")
	}()
	if err := s.report(); err != nil {
		return err
	}
	f := newFlusher(t.sync, s.report, s.stream.Abort)
	refused, err := s.takeAll(f)
	if f.stop() > 0 {
		if failed := t.sync(); failed != nil {
			return failed
		}
	}
	if refused {
		// The pusher gets the alarm as feedback too, before the error.
		return errors.Join(err, s.report())
	}
	return streamEnd(ctx, err)
}

// greet takes the pusher's greeting, finds or founds the timeline, and answers
// with where its WAL ends.
func (s *pushSession) greet() error {
	msg, err := s.stream.Receive()
	if err != nil {
		return fmt.Errorf("receive greeting: %w", err)
	}
	s.codec = pushwal.Codec{Version: pushwal.Version3, Walhaven: true}
	if err := s.codec.DecodeProposerGreeting(msg, &s.greeting); err != nil {
		return protocol.Errorf(protocol.CodeProtocolViolation, "%w", err)
	}
	if s.timeline, err = s.server.timelines.findOrFound(s.session, &s.greeting); err != nil {
		return err
	}
	if err := s.timeline.haltedErr(); err != nil {
		return err
	}
	if err := s.timeline.admit(&s.greeting); err != nil {
		return err
	}
	c := s.timeline.store.Control()
	answer := pushwal.AcceptorGreeting{
		NodeID: pushwal.NodeID(s.server.identity.ID),
		Options: &pushwal.AcceptorOptions{
			Walhaven: 1, Incarnation: s.server.identity.Incarnation, TLI: c.History.Last,
			LastRecordLSN: s.timeline.durable(),
		},
	}
	invariant.Point("pageserver/greeting/before")
	return errors.Join(s.stream.Send(s.codec.AppendAcceptorGreeting(nil, &answer)), s.stream.Flush())
}

// takeAll takes frames until there are no more, or one is refused.
func (s *pushSession) takeAll(f *flusher) (refused bool, err error) {
	for {
		msg, err := s.stream.Receive()
		if err != nil {
			return false, err
		}
		if err := s.codec.DecodeAppendRequest(msg, &s.frame); err != nil {
			return false, protocol.Errorf(protocol.CodeProtocolViolation, "%w", err)
		}
		n, err := s.timeline.take(s, &s.frame, time.Now())
		if err != nil {
			return true, err
		}
		// A pusher that has more to send sends it at once.
		f.take(n, s.stream.Buffered() || len(s.frame.WAL) > 0 && s.frame.End < s.frame.CommitLSN)
	}
}

// report sends the positions, and whether this pusher is the active one.
func (s *pushSession) report() error {
	t := s.timeline
	write, durable := t.store.Positions().Write, t.durable()
	t.mu.Lock()
	active, halted := t.pushers.isActive(s), t.halted != nil
	t.mu.Unlock()
	now := wal.TimestampOf(time.Now())

	// Applied is what can be read; without pages nothing is to be applied.
	apply := durable
	if applied, ok := t.pages.applied(); ok {
		apply = min(applied, durable)
	}
	status := walstream.StatusUpdate{Write: write, Flush: durable, Apply: apply, Time: now}
	s.out = walstream.AppendStatusUpdate(s.out[:0], &status)
	invariant.Point("pageserver/report/before")
	if err := s.stream.Send(s.out); err != nil {
		return fmt.Errorf("send status: %w", err)
	}
	// Nothing is in an object store yet, so nothing is remotely consistent: the
	// safekeepers' copies are not to be given up for this disk's.
	feedback := pushwal.PageserverFeedback{
		LastReceivedLSN: write, DiskConsistent: durable,
		ReplyTime: now, Corruption: halted, Active: pushwal.StandBy,
	}
	if active && !halted {
		feedback.Active = pushwal.Active
	}
	s.out = walstream.AppendPageserverFeedback(s.out[:0], pushwal.AppendPageserverFeedback(nil, &feedback))
	if err := errors.Join(s.stream.Send(s.out), s.stream.Flush()); err != nil {
		return fmt.Errorf("send feedback: %w", err)
	}
	invariant.Point("pageserver/report/after")
	return nil
}
