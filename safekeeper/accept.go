package safekeeper

import (
	"context"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/admin"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
)

// startWALPush serves a proposer.
func (s *Server) startWALPush(ctx context.Context, session *protocol.Session, c admin.StartWALPush, w *protocol.ResultWriter) error {
	if c.Role != "" {
		return protocol.Errorf(protocol.CodeInvalidParameter, "role %q is not a safekeeper's", c.Role).
			WithHint("Push committed WAL to a pageserver.")
	}
	o := replication.PushOptions{Version: pushwal.Version(c.ProtoVersion), Walhaven: c.Walhaven > 0, Revision: c.Walhaven}
	if o.Version != pushwal.Version2 && o.Version != pushwal.Version3 {
		return protocol.Errorf(protocol.CodeFeatureNotSupported, "START_WAL_PUSH version %d is not supported", c.ProtoVersion).
			WithHint("Versions 2 and 3 are.")
	}
	if err := mayWrite(session, "push WAL"); err != nil {
		return err
	}
	t, err := s.timelineOf(session)
	if err != nil && !(c.AllowTimelineCreation && s.o.Config.AllowImplicitTimelines && protocol.SQLState(err) == protocol.CodeUndefinedObject) {
		return err
	}
	// Whoever is told that the stream is open finds it in SHOW RECEIVERS.
	st := newStream(kindReceiver, session, "")
	if t != nil {
		t.sessions.add(st)
	}
	defer func() {
		if t != nil {
			t.sessions.remove(st)
		}
	}()
	stream, err := w.CopyBoth()
	if err != nil {
		return err
	}
	stream.OwnThread()
	if t == nil {
		if t, o.Greeting, err = s.foundImplicitly(session, stream, o); err != nil {
			return err
		}
		t.sessions.add(st)
	}
	return t.accepting.Serve(ctx, stream, o)
}

// mayWrite refuses users who may only read.
func mayWrite(session *protocol.Session, what string) error {
	if session.Identity.MayWrite() {
		return nil
	}
	return protocol.Errorf(protocol.CodeInsufficientRight, "permission denied to %s", what).
		WithHint("The user %q lacks the attribute admin in the users file.", session.Identity.User)
}
