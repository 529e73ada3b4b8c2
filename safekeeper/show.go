package safekeeper

import (
	"context"
	"time"

	"github.com/walhaven/walhaven/internal/walcmd"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/admin"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

func (s *Server) showTimelines(_ context.Context, call *admin.Call, emit admin.Emit) error {
	allowed := func(id wal.TTID) bool {
		session, ok := call.Target.(*protocol.Session)
		return !ok || session.Identity.Permits(id)
	}
	for _, t := range s.timelines.list() {
		if !allowed(t.id) {
			continue
		}
		st, state, reason := t.accepting.Status(), "active", ""
		if st.Joining {
			state = "joining"
		}
		if err := t.store.Fenced(); err != nil {
			state, reason = "fenced", err.Error()
		}
		err := emit(t.id.Tenant, t.id.Timeline, t.name(), state, st.PGVersion, st.SystemID, st.TLIHistory.Last, st.Term,
			st.FlushLSN, st.CommitLSN, st.Oldest, st.Start, reason)
		if err != nil {
			return err
		}
	}
	failures := s.timelines.failures()
	for _, id := range walcmd.SortedIDs(failures) {
		if !allowed(id) {
			continue
		}
		err := emit(id.Tenant, id.Timeline, nil, "failed", nil, nil, nil, nil, nil, nil, nil, nil, failures[id].Error())
		if err != nil {
			return err
		}
	}
	return nil
}

func showSenders(_ context.Context, t *timeline, _ *admin.Call, emit admin.Emit) error {
	commit := t.accepting.CommitLSN()
	for _, st := range t.sessions.list(kindSender) {
		v := st.view()
		state := "streaming"
		if v.sent < commit {
			state = "catchup"
		}
		err := emit(st.pid, "standby", st.application, st.user, st.remote, optional(st.slot), st.started.UTC().Format(time.RFC3339),
			state, v.sent, v.reported.Write, v.reported.Flush, v.reported.Apply, lag(commit, max(v.reported.Flush, v.reported.Write)),
			ageMillis(v.replied), nil)
		if err != nil {
			return err
		}
	}
	for _, p := range t.pushes.list() {
		v := p.view()
		err := emit(nil, "pageserver", "walhaven", nil, p.addr, nil, optionalTime(v.since),
			v.state(), v.feedback.Write, v.feedback.Write, v.feedback.Flush, v.feedback.Apply, lag(commit, v.feedback.Flush),
			ageMillis(v.feedback.At), errorText(v.err))
		if err != nil {
			return err
		}
	}
	return nil
}

func showReceivers(_ context.Context, t *timeline, _ *admin.Call, emit admin.Emit) error {
	status := t.accepting.Status()
	for _, st := range t.sessions.list(kindReceiver) {
		err := emit(st.pid, st.application, st.user, st.remote, st.started.UTC().Format(time.RFC3339),
			status.Writer, ageMillis(status.WriterHeard))
		if err != nil {
			return err
		}
	}
	return nil
}

func showMembers(_ context.Context, t *timeline, _ *admin.Call, emit admin.Emit) error {
	st := t.accepting.Status()
	for _, set := range []struct {
		name    string
		members []pushwal.Member
	}{{"members", st.Configuration.Members}, {"new_members", st.Configuration.NewMembers}} {
		for _, m := range set.members {
			if err := emit(m.ID, memberAddress(m), m.Incarnation, set.name, m.ID == st.NodeID, st.Configuration.Generation); err != nil {
				return err
			}
		}
	}
	return nil
}

func showPeers(_ context.Context, t *timeline, _ *admin.Call, emit admin.Emit) error {
	for _, p := range t.peers.list() {
		err := emit(p.member.ID, memberAddress(p.member), p.status.Term, p.status.LastLogTerm,
			p.status.FlushLSN, p.status.CommitLSN, ageMillis(p.at), errorText(p.err))
		if err != nil {
			return err
		}
	}
	return nil
}

func showGaps(_ context.Context, t *timeline, _ *admin.Call, emit admin.Emit) error {
	for _, g := range t.gaps.list() {
		if err := emit(g.pageserver, g.from, g.to, uint64(g.to-g.from), g.since.Format(time.RFC3339)); err != nil {
			return err
		}
	}
	return nil
}

func showSlots(_ context.Context, t *timeline, _ *admin.Call, emit admin.Emit) error {
	commit := t.accepting.CommitLSN()
	for _, sl := range t.slots.list() {
		var pid, restart any
		status, behind := "reserved", uint64(0)
		if sl.active != 0 {
			pid = sl.active
		}
		if sl.restart != 0 {
			restart, behind = sl.restart, lag(commit, sl.restart)
		}
		if sl.invalidated {
			status = "lost"
		}
		if err := emit(sl.name, "physical", sl.temporary, sl.active != 0, pid, restart, status, behind, formatSlotID(sl.id)); err != nil {
			return err
		}
	}
	return nil
}

func lag(end, at wal.LSN) uint64 {
	if at >= end {
		return 0
	}
	return uint64(end - at)
}

// ageMillis is the time since t in milliseconds, -1 for never.
func ageMillis(t time.Time) int64 {
	if t.IsZero() {
		return -1
	}
	return time.Since(t).Milliseconds()
}

func optional(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func optionalTime(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339)
}

func errorText(err error) any {
	if err == nil {
		return nil
	}
	return err.Error()
}
