package safekeeper

import (
	"context"
	"fmt"

	"github.com/walhaven/walhaven/internal/walcmd"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/admin"
	"github.com/walhaven/walhaven/wal"
)

// sessionState is what the handler keeps of a session.
type sessionState struct {
	target walcmd.Target
	// slots of timelines that the session made temporary slots on.
	slots map[*timeline]struct{}
}

func stateOf(s *protocol.Session) *sessionState { return s.State.(*sessionState) }

// Begin resolves what the session talks about. A timeline that does not exist
// is no error yet: it may be about to be founded.
func (s *Server) Begin(_ context.Context, session *protocol.Session) (protocol.Settings, error) {
	target, err := walcmd.TargetOf(session)
	if err != nil {
		return nil, err
	}
	session.State = &sessionState{target: target, slots: map[*timeline]struct{}{}}
	t, found, err := s.timelines.find(target)
	if err != nil || !found {
		return nil, nil //nolint:nilerr // an ambiguous target is told to the command that needs one
	}
	return protocol.Settings{"server_version": walcmd.ServerVersion(t.store.Control().PGVersion)}, nil
}

// End drops the session's temporary slots.
func (s *Server) End(session *protocol.Session) {
	state, ok := session.State.(*sessionState)
	if !ok {
		return // Begin refused it
	}
	for t := range state.slots {
		t.slots.endSession(session.PID)
	}
}

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

// Execute runs one statement. Any error drops the session's temporary slots, as
// in PostgreSQL.
func (s *Server) Execute(ctx context.Context, session *protocol.Session, stmt string, w *protocol.ResultWriter) error {
	err := s.execute(ctx, session, stmt, w)
	if err != nil {
		s.End(session)
	}
	return err
}

func (s *Server) execute(ctx context.Context, session *protocol.Session, stmt string, w *protocol.ResultWriter) error {
	cmd, err := walcmd.ParseStreaming(stmt)
	if err != nil {
		return err
	}
	if cmd != nil {
		return s.replicationCommand(ctx, session, cmd, w)
	}
	call, err := s.table.Lookup(stmt)
	if err != nil {
		return err
	}
	if err := s.permit(session, call.Command); err != nil {
		return err
	}
	call.Target = session
	return protocol.RunCall(ctx, call, w)
}

// permit applies a command's scope.
func (s *Server) permit(session *protocol.Session, c *admin.Command) error {
	if c.Scope == admin.ScopeAdmin && !session.Identity.Admin {
		return protocol.Errorf(protocol.CodeInsufficientRight, "permission denied for %s", c.Name).
			WithHint("It needs a role with the admin right.")
	}
	return nil
}

// timelineOf returns the timeline that the session talks about.
func (s *Server) timelineOf(session *protocol.Session) (*timeline, error) {
	target := stateOf(session).target
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
// not here is about to be founded, or to join.
func (s *Server) tokenTimeline(session *protocol.Session) (wal.TTID, error) {
	t, err := s.timelineOf(session)
	if err == nil {
		return t.id, nil
	}
	if id, ok := stateOf(session).target.TTID(); ok {
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
	var result walcmd.Result
	switch c := cmd.(type) {
	case admin.IdentifySystem:
		result = walcmd.IdentifySystem(t.store.Control(), t.accepting.History(), t.identifyEnd(session))
	case admin.TimelineHistory:
		result, err = walcmd.TimelineHistory(t.accepting.History(), c.TLI)
	case admin.CreateSlot:
		result, err = s.createSlot(session, t, c)
	case admin.ReadSlot:
		sl, exists := t.slots.read(c.Slot)
		result = walcmd.ReadSlot(exists, sl.restart, t.accepting.History())
	case admin.DropSlot:
		result, err = walcmd.Result{Tag: "DROP_REPLICATION_SLOT"}, t.slots.drop(ctx, c.Slot, c.Wait)
	case admin.StartReplication:
		return s.startReplication(ctx, session, t, c, w)
	default:
		err = walcmd.Refused(cmd)
	}
	if err != nil {
		return err
	}
	if err := result.Write(w); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return nil
}
