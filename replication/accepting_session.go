package replication

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication/consensus"
)

const (
	// pushIdle ends a session whose proposer said nothing for so long (Neon's
	// limit; a proposer that streams says something each second).
	pushIdle = 600 * time.Second
	// bulk is the length of a message of a bulk load, longest that of the longest one
	// with WAL and what frames it.
	bulk    = 32 << 10
	longest = pushwal.MaxAppend + pushwal.MaxAppendHeader + 16
	// lastWords is how long a session that ended in order waits for a peer to
	// take what is being sent.
	lastWords = time.Second
)

var errNotReading = errors.New("proposer does not read")

// PushOptions is what START_WAL_PUSH asked for.
type PushOptions struct {
	Version  pushwal.Version
	Walhaven bool
	// Revision is what the proposer said of itself with it, 0 without.
	Revision uint32
	// Greeting is the first message when the caller has received it already.
	Greeting *pushwal.ProposerGreeting
	// Recovery marks a session that replays a peer's WAL into this node: it does
	// not count as a writer.
	Recovery bool
}

// ReceiveGreeting receives and decodes the first message of a session, for
// callers that have to know it before there is an acceptor.
func ReceiveGreeting(stream *protocol.CopyStream, o PushOptions) (*pushwal.ProposerGreeting, error) {
	payload, err := stream.Receive()
	if err != nil {
		return nil, fmt.Errorf("receive greeting: %w", err)
	}
	var g pushwal.ProposerGreeting
	if err := (pushwal.Codec{Version: o.Version, Walhaven: o.Walhaven}).DecodeProposerGreeting(payload, &g); err != nil {
		return nil, protocol.Errorf(protocol.CodeProtocolViolation, "%w", err)
	}
	return &g, nil
}

// pushSession is one connection of a proposer.
type pushSession struct {
	accepting *Accepting
	id        consensus.ConnID
	stream    *protocol.CopyStream
	codec     pushwal.Codec
	recovery  bool
	revision  uint32
	instance  pushwal.Instance
	asked     time.Time // when it last asked for office, zero once it has it; under accepting.mu
	out       outbox

	// Of the session's goroutine.
	request pushwal.AppendRequest // reused for each frame
	length  int                   // of the last message
	debt    debt
	aside   chan error // what the sync ends with that runs while more is taken; nil: none does

	ended error // set by a failure elsewhere; under accepting.mu
}

// Serve runs one proposer's session until the peer ends it (nil), ctx is done,
// or it breaks a rule (an error with an SQLSTATE, not sent yet).
func (a *Accepting) Serve(ctx context.Context, stream *protocol.CopyStream, o PushOptions) error {
	s := &pushSession{
		accepting: a, stream: stream, recovery: o.Recovery, revision: o.Revision,
		codec: pushwal.Codec{Version: o.Version, Walhaven: o.Walhaven}.Negotiated(o.Revision),
	}
	s.out.wake = make(chan struct{}, 1)
	if err := a.join(s); err != nil {
		return err
	}
	defer a.leave(s)
	stop := context.AfterFunc(ctx, func() { stream.Abort(context.Cause(ctx)) })
	defer stop()
	stream.SetReadIdle(pushIdle)

	done := make(chan struct{})
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		s.deliverUnasked(done)
	}()
	err := s.run(o.Greeting)
	close(done)
	if err != nil {
		// Frees whoever sends to a peer that does not read.
		stream.Abort(err)
		_ = s.awaitAside() // The session failed already.
	}
	select {
	case <-finished:
	case <-time.After(lastWords):
		stream.Abort(errNotReading)
		<-finished
	}
	return err
}

func (a *Accepting) join(s *pushSession) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed != nil {
		return protocol.Errorf(protocol.CodeAdminShutdown, "%w", a.closed)
	}
	a.lastConn++
	s.id = a.lastConn
	a.sessions[s.id] = s
	a.running.Add(1)
	a.metrics.sessions.Inc()
	return nil
}

func (a *Accepting) leave(s *pushSession) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.sessions, s.id)
	a.acceptor.Disconnected(s.id)
	a.metrics.sessions.Dec()
	a.running.Done()
}

// run is the session's goroutine: it receives, steps, and syncs once nothing
// more is waiting, so that one sync and one answer cover all that has arrived.
func (s *pushSession) run(greeting *pushwal.ProposerGreeting) error {
	if greeting != nil {
		if err := s.step(greeting); err != nil {
			return err
		}
	}
	for {
		payload, err := s.stream.Receive()
		if err != nil {
			return s.finish(err)
		}
		if err := s.take(payload); err != nil {
			return err
		}
		s.length = len(payload)
		if err := s.pay(); err != nil {
			return err
		}
	}
}

// hasMore says that a whole message has come that was not received yet. The
// kernel is only asked in the middle of a bulk load, where one sync of what it
// holds besides is much cheaper than one for each message.
func (s *pushSession) hasMore() bool {
	if s.stream.Buffered() {
		return true
	}
	return s.length >= bulk && s.stream.Arrived() >= longest
}

// finish makes durable what the proposer left behind: a vote would have to do
// it otherwise.
func (s *pushSession) finish(cause error) error {
	if err := s.payAll(); err != nil && errors.Is(cause, io.EOF) {
		return err
	}
	if errors.Is(cause, io.EOF) || errors.Is(cause, protocol.ErrPeerClosed) {
		return nil
	}
	return cause
}

// take decodes a message and steps it.
func (s *pushSession) take(payload []byte) error {
	var m pushwal.ProposerMessage
	var err error
	switch kind := pushwal.Kind(payload); kind {
	case pushwal.KindAppend:
		err = s.codec.DecodeAppendRequest(payload, &s.request)
		m = &s.request
	case pushwal.KindGreeting:
		g := new(pushwal.ProposerGreeting)
		err = s.codec.DecodeProposerGreeting(payload, g)
		m = g
	case pushwal.KindVote:
		v := new(pushwal.VoteRequest)
		err = s.codec.DecodeVoteRequest(payload, v)
		m = v
	case pushwal.KindElected:
		e := new(pushwal.ProposerElected)
		err = s.codec.DecodeProposerElected(payload, e)
		m = e
	case pushwal.KindConfiguration:
		c := new(pushwal.ConfigurationRequest)
		err = s.codec.DecodeConfigurationRequest(payload, c)
		m = c
	default:
		err = fmt.Errorf("message of %d bytes with tag %q: %w", len(payload), kind, pushwal.ErrMalformed)
	}
	if err != nil {
		return protocol.Errorf(protocol.CodeProtocolViolation, "%w", err)
	}
	return s.step(m)
}

func (s *pushSession) step(m pushwal.ProposerMessage) error {
	if err := s.checkFrame(m); err != nil {
		return err
	}
	if err := s.stepLocked(m); err != nil {
		return err
	}
	return s.deliver()
}

// checkFrame refuses WAL in our form that does not say its timeline. Its CRC is
// verified by the consensus, before anything changes.
func (s *pushSession) checkFrame(m pushwal.ProposerMessage) error {
	r, ok := m.(*pushwal.AppendRequest)
	ours := s.codec.Walhaven && s.codec.Version == pushwal.Version3
	if ok && ours && r.TLI == 0 && len(r.WAL) > 0 {
		return protocol.Errorf(protocol.CodeProtocolViolation, "WAL frame at %s names no timeline", r.Begin)
	}
	return nil
}

func (s *pushSession) stepLocked(m pushwal.ProposerMessage) error {
	a, began := s.accepting, time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.ended != nil {
		return s.ended
	}
	effects, err := a.acceptor.Step(s.id, m)
	if err != nil {
		if errors.Is(err, pushwal.ErrMalformed) {
			a.metrics.damaged.Inc()
		}
		return refusal(err)
	}
	if err := a.execute(s, &effects); err != nil {
		return err
	}
	if effects.Append != nil {
		a.metrics.write.Observe(time.Since(began).Seconds())
	}
	s.note(m)
	return nil
}

// end makes the session fail with err; a.mu is held.
func (s *pushSession) end(err error) {
	if s.ended == nil {
		s.ended = err
		s.stream.Abort(err)
	}
}
