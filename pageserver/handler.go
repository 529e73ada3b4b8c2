package pageserver

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/walhaven/walhaven/internal/walcmd"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/admin"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication/sender"
	"github.com/walhaven/walhaven/wal"
)

// Begin resolves what the session talks about. A timeline that does not exist
// is no error yet: a pusher may be about to found it.
func (s *Server) Begin(_ context.Context, session *protocol.Session) (protocol.Settings, error) {
	target, err := walcmd.TargetOf(session)
	if err != nil {
		return nil, err
	}
	session.State = target
	t, found, err := s.timelines.find(target)
	if err != nil || !found {
		return nil, nil //nolint:nilerr // an ambiguous target is told to the command that needs one
	}
	return protocol.Settings{"server_version": walcmd.ServerVersion(t.store.Control().PGVersion)}, nil
}

// End has nothing to clean up.
func (s *Server) End(*protocol.Session) {}

// Describe returns the columns of a statement.
func (s *Server) Describe(_ context.Context, _ *protocol.Session, stmt string) ([]protocol.Column, error) {
	if cmd, err := walcmd.ParseStreaming(stmt); cmd != nil || err != nil {
		return walcmd.ColumnsOf(cmd), err
	}
	call, err := s.table.Lookup(stmt)
	if err != nil {
		return nil, err
	}
	return call.Columns(), nil
}

// Execute runs one statement.
func (s *Server) Execute(ctx context.Context, session *protocol.Session, stmt string, w *protocol.ResultWriter) error {
	cmd, err := walcmd.ParseStreaming(stmt)
	if err != nil {
		return err
	}
	if cmd != nil {
		return s.replicationCommand(ctx, session, cmd, w)
	}
	if v, target, ok, err := pageCommand(stmt); ok {
		if err != nil {
			return err
		}
		return s.pageRequests(ctx, session, v, target, w)
	}
	call, err := s.table.Lookup(stmt)
	if err != nil {
		return err
	}
	call.Target = session
	if call.Command.Name == commandImport {
		return s.importBase(ctx, session, call, w)
	}
	return protocol.RunCall(ctx, call, w)
}

func (s *Server) timelineOf(session *protocol.Session) (*timeline, error) {
	target := session.State.(walcmd.Target)
	t, found, err := s.timelines.find(target)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, target.Missing()
	}
	return t, nil
}

// tokenTimeline is the timeline that a token of the session is for. One that is
// not here may be about to be founded.
func (s *Server) tokenTimeline(session *protocol.Session) (wal.TTID, error) {
	t, err := s.timelineOf(session)
	if err == nil {
		return t.id, nil
	}
	if id, ok := session.State.(walcmd.Target).TTID(); ok {
		return id, nil
	}
	return wal.TTID{}, err
}

// replicationCommand runs a command of the replication grammar.
func (s *Server) replicationCommand(ctx context.Context, session *protocol.Session, cmd admin.ReplicationCommand, w *protocol.ResultWriter) error {
	if push, ok := cmd.(admin.StartWALPush); ok {
		return s.startWALPush(ctx, session, push, w)
	}
	t, err := s.timelineOf(session)
	if err != nil {
		return err
	}
	switch c := cmd.(type) {
	case admin.IdentifySystem:
		return walcmd.IdentifySystem(t.store.Control(), source{t}.History(), t.durable()).Write(w)
	case admin.TimelineHistory:
		result, err := walcmd.TimelineHistory(source{t}.History(), c.TLI)
		if err != nil {
			return err
		}
		return result.Write(w)
	case admin.StartReplication:
		return s.startReplication(ctx, t, c, w)
	}
	return walcmd.Refused(cmd)
}

func (s *Server) startReplication(ctx context.Context, t *timeline, c admin.StartReplication, w *protocol.ResultWriter) error {
	if c.Logical {
		return walcmd.Refused(c)
	}
	if c.Slot != "" {
		return protocol.Errorf(protocol.CodeUndefinedObject, "replication slot %q does not exist", c.Slot).
			WithHint("A pageserver has no slots; safekeepers do.")
	}
	return sender.Serve(ctx, w, sender.Request{Start: c.Start, TLI: c.TLI, Term: c.Term}, sender.Options{
		Source: source{t}, Logger: t.logger, Metrics: s.senders, Timeout: s.o.Config.WALSenderTimeout,
		Drain: s.draining, DrainTimeout: drainTimeout,
	})
}

// startWALPush takes WAL from a safekeeper.
func (s *Server) startWALPush(ctx context.Context, session *protocol.Session, c admin.StartWALPush, w *protocol.ResultWriter) error {
	if c.Role != program {
		return protocol.Errorf(protocol.CodeInvalidParameter, "a pageserver takes START_WAL_PUSH with role '%s' only", program).
			WithHint("A proposer pushes to safekeepers, which push what is committed.")
	}
	if c.Walhaven == 0 || pushwal.Version(c.ProtoVersion) != pushwal.Version3 {
		return protocol.Errorf(protocol.CodeFeatureNotSupported, "pushes need proto_version '%d' and walhaven '1'", pushwal.Version3)
	}
	if !session.Identity.Admin {
		return protocol.Errorf(protocol.CodeInsufficientRight, "permission denied to push WAL").
			WithHint("The user %q lacks the attribute admin in the users file.", session.Identity.User)
	}
	stream, err := w.CopyBoth()
	if err != nil {
		return err
	}
	push := &pushSession{server: s, stream: stream, session: session, started: time.Now()}
	return push.run(ctx)
}

// streamEnd tells the orderly end of a stream from a failure.
func streamEnd(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, protocol.ErrPeerClosed):
		return nil
	case ctx.Err() != nil:
		return protocol.Fatalf(protocol.CodeAdminShutdown, "the pageserver is shutting down")
	}
	return err
}
