package replication

import (
	"slices"
	"sync"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/protocol/pushwal"
)

// outbox holds what a session has to send, in the order in which the acceptor
// said it.
type outbox struct {
	mu       sync.Mutex
	messages []pushwal.AcceptorMessage
	last     *pushwal.AppendResponse // the newest that was queued
	feedback *pushwal.PageserverFeedback

	wake chan struct{} // has room for one

	sending sync.Mutex // orders deliveries
	buf     []byte
}

// queue adds a message; own says that the session's goroutine will deliver it
// itself, else its other goroutine is woken. accepting.mu is held, which keeps
// the order. An answer to appends replaces one that was not sent yet: only the
// newest positions matter, and a peer that does not read cannot make the queue
// grow.
func (s *pushSession) queue(m pushwal.AcceptorMessage, own bool) {
	o := &s.out
	o.mu.Lock()
	response, isAppend := m.(*pushwal.AppendResponse)
	if isAppend {
		o.last = response
	}
	n := len(o.messages)
	if n > 0 && isAppend {
		if _, replace := o.messages[n-1].(*pushwal.AppendResponse); replace {
			o.messages[n-1] = m
			m = nil
		}
	}
	if m != nil {
		o.messages = append(o.messages, m)
	}
	o.mu.Unlock()
	if !own {
		s.nudge()
	}
}

func (s *pushSession) nudge() {
	select {
	case s.out.wake <- struct{}{}:
	default:
	}
}

// RelayPageserver sends a pageserver's feedback to the connected proposers,
// attached to a copy of the last answer; whoever got none yet gets nothing, for
// a proposer takes any byte in its idle states for the end of the connection.
func (a *Accepting) RelayPageserver(f pushwal.PageserverFeedback) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.sessions {
		s.out.mu.Lock()
		streaming := s.out.last != nil
		if streaming {
			s.out.feedback = &f
		}
		s.out.mu.Unlock()
		if streaming {
			s.nudge()
		}
	}
}

// deliverUnasked sends what did not arise from the session's own messages:
// feedback, and answers that another session's sync made possible. A failure is
// noticed by the session's goroutine, whose next receive fails as well.
func (s *pushSession) deliverUnasked(done <-chan struct{}) {
	for {
		select {
		case <-s.out.wake:
			if err := s.deliver(); err != nil {
				s.stream.Abort(err)
				return
			}
		case <-done:
			return
		}
	}
}

// deliver sends everything that is queued.
func (s *pushSession) deliver() error {
	o := &s.out
	o.sending.Lock()
	defer o.sending.Unlock()
	sent := false
	for {
		m := o.next()
		if m == nil {
			break
		}
		invariant.Point("accepting/send/before")
		o.buf = s.encode(o.buf[:0], m)
		if err := s.stream.Send(o.buf); err != nil {
			return err
		}
		sent = true
	}
	if !sent {
		return nil
	}
	if err := s.stream.Flush(); err != nil {
		return err
	}
	invariant.Point("accepting/send/after")
	return nil
}

// next takes the oldest message, or makes one to carry feedback.
func (o *outbox) next() pushwal.AcceptorMessage {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.messages) > 0 {
		m := o.messages[0]
		o.messages = slices.Delete(o.messages, 0, 1) // hardly ever more than one
		return m
	}
	if o.feedback == nil {
		return nil
	}
	carrier := *o.last
	carrier.Pageserver, o.feedback = o.feedback, nil
	return &carrier
}

func (s *pushSession) encode(dst []byte, m pushwal.AcceptorMessage) []byte {
	switch m := m.(type) {
	case *pushwal.AcceptorGreeting:
		// What was not answered is not in use, whatever was asked for.
		if m.Options == nil {
			s.codec.Walhaven = false
		}
		return s.codec.AppendAcceptorGreeting(dst, m)
	case *pushwal.VoteResponse:
		return s.codec.AppendVoteResponse(dst, m)
	case *pushwal.ConfigurationResponse:
		return s.codec.AppendConfigurationResponse(dst, m)
	case *pushwal.MembershipRequest:
		return s.codec.AppendMembershipRequest(dst, m)
	case *pushwal.AppendResponse:
		// A refusal carries generation and term only.
		if standby := s.accepting.standby.Load(); standby != nil && m.FlushLSN != 0 {
			withStandby := *m
			withStandby.Standby = *standby
			m = &withStandby
		}
		return s.codec.AppendAppendResponse(dst, m)
	}
	return dst
}
