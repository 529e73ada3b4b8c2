package pageserver

import (
	"context"
	"slices"
	"time"

	"github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/internal/walcmd"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/admin"
	"github.com/walhaven/walhaven/wal"
)

// onTimeline makes a handler of a function that needs the session's timeline.
func (s *Server) onTimeline(f func(ctx context.Context, t *timeline, call *admin.Call, emit admin.Emit) error) admin.Func {
	return func(ctx context.Context, call *admin.Call, emit admin.Emit) error {
		t, err := s.timelineOf(call.Target.(*protocol.Session))
		if err != nil {
			return err
		}
		return f(ctx, t, call, emit)
	}
}

// newTable lists every command that is not one of PostgreSQL's replication
// commands. psql, /v1/ and the walhaven tool render the same rows.
func (s *Server) newTable() (*admin.Table, error) {
	commands := slices.Concat(admin.Standard(s.settings), s.pageCommands(), s.momentCommands(), s.findCommands(), s.pinCommands(),
		walcmd.TokenCommands(s.o.Tokens, s.tokenTimeline))
	return admin.NewTable(append(commands, []admin.Command{
		s.importCommand(),
		{
			Name: "TIMELINE_STATUS", Scope: admin.ScopeTimeline, Tag: "TIMELINE_STATUS",
			Help: "Positions and origin of the timeline; no row when it is not here.",
			Columns: admin.Text("flush_lsn", "commit_lsn", "last_record_lsn", "disk_consistent_lsn", "lag_bytes", "lag_seconds",
				"node_id", "incarnation", "system_id", "pg_version", "wal_segment_size", "tli", "tli_history", "start_lsn",
				"oldest_lsn", "state", "reason", "pages", "pages_reason", "applied_lsn", "pages_flushed_lsn", "oldest_page_lsn",
				"apply_lag_bytes"),
			Handler: s.timelineStatus,
		},
		{
			Name: "WAL_DIGEST", Columns: walcmd.DigestColumns(), Scope: admin.ScopeTimeline, Tag: "WAL_DIGEST",
			Args: []admin.Arg{
				{Name: "start", Kind: admin.KindLSN, Help: "First position."},
				{Name: "end", Kind: admin.KindLSN, Help: "Position behind the last byte."},
			},
			Help: "SHA-256 of WAL, cut at multiples of 1 MiB.",
			Handler: s.onTimeline(func(ctx context.Context, t *timeline, call *admin.Call, emit admin.Emit) error {
				return walcmd.DigestCall(ctx, t.store, call, emit)
			}),
		},
		{
			Name: "SHOW NODE", Tag: "SHOW", Help: "This pageserver.",
			Columns: admin.Text("node_id", "incarnation", "version", "started_at", "timelines"),
			Handler: func(_ context.Context, _ *admin.Call, emit admin.Emit) error {
				return emit(s.identity.ID, s.identity.IncarnationHex(), daemon.Version(),
					s.started.UTC().Format(time.RFC3339), len(s.timelines.list()))
			},
		},
		{
			Name: "SHOW TIMELINES", Tag: "SHOW", Help: "The timelines that are here, and those that did not load.",
			Columns: admin.Text("tenant_id", "timeline_id", "name", "state", "pg_version", "system_id", "tli",
				"last_record_lsn", "disk_consistent_lsn", "commit_lsn", "oldest_lsn", "start_lsn", "reason", "pages", "applied_lsn"),
			Handler: s.showTimelines,
		},
		{
			Name: "SHOW RECEIVERS", Tag: "SHOW", Scope: admin.ScopeTimeline, Help: "Safekeepers that push, and which one is active.",
			Columns: admin.Text("pid", "node_id", "application_name", "usename", "client_addr", "backend_start", "active", "commit_lsn"),
			Handler: s.onTimeline(showReceivers),
		},
	}...)...)
}

// settings lists what SHOW knows in a session.
func (s *Server) settings(_ context.Context, target any) ([]admin.Setting, error) {
	list := append(walcmd.ProgramSettings(), s.o.Settings...)
	session, ok := target.(*protocol.Session)
	if !ok {
		return list, nil
	}
	list = append(list, walcmd.SessionSettings(session)...)
	if t, err := s.timelineOf(session); err == nil {
		list = append(list, walcmd.TimelineSettings(t.store.Control())...)
	} else if v, ok := session.Parameter("server_version"); ok {
		list = append(list, admin.Setting{Name: "server_version", Value: v, Help: "As announced to this session."})
	}
	return list, nil
}

// state is the timeline's state in one word, and why.
func (t *timeline) state() (state, reason string) {
	if err := t.haltedErr(); err != nil {
		return "halted", err.Error()
	}
	if err := t.store.Fenced(); err != nil {
		return "fenced", err.Error()
	}
	return "active", ""
}

// announced is the highest commit position that a pusher named.
func (t *timeline) announced() wal.LSN {
	t.mu.Lock()
	defer t.mu.Unlock()
	return max(t.commit, t.store.Control().Start)
}

func (s *Server) timelineStatus(_ context.Context, call *admin.Call, emit admin.Emit) error {
	t, err := s.timelineOf(call.Target.(*protocol.Session))
	if protocol.SQLState(err) == protocol.CodeUndefinedObject {
		return nil
	}
	if err != nil {
		return err
	}
	c, p := t.store.Control(), t.store.Positions()
	durable := max(t.durable(), c.Start)
	behind, since := t.lag(time.Now())
	state, reason := t.state()
	v := t.pages.view()
	return emit(durable, max(t.announced(), durable), max(p.WriteRecord, c.Start), durable, behind, since.Seconds(),
		s.identity.ID, s.identity.IncarnationHex(), c.SystemID, c.PGVersion, uint32(c.SegmentSize), c.History.Last,
		c.History.Format(), c.Start, t.store.Oldest(), state, reason, string(v.Phase), v.Reason,
		orNull(v.Applied), orNull(v.Flushed), orNull(v.Floor), t.applyLag(&v))
}

// orNull is NULL for a position that there is not.
func orNull(lsn wal.LSN) any {
	if lsn == 0 {
		return nil
	}
	return lsn
}

func (s *Server) showTimelines(_ context.Context, call *admin.Call, emit admin.Emit) error {
	session := call.Target.(*protocol.Session)
	allowed := session.Identity.Permits
	for _, t := range s.timelines.list() {
		if !allowed(t.id) {
			continue
		}
		c := t.store.Control()
		state, reason := t.state()
		v := t.pages.view()
		err := emit(t.id.Tenant, t.id.Timeline, c.Name, state, c.PGVersion, c.SystemID, c.History.Last,
			max(t.store.Positions().WriteRecord, c.Start), max(t.durable(), c.Start), t.announced(), t.store.Oldest(), c.Start, reason,
			string(v.Phase), orNull(v.Applied))
		if err != nil {
			return err
		}
	}
	failures := s.timelines.failures()
	for _, id := range walcmd.SortedIDs(failures) {
		if !allowed(id) {
			continue
		}
		err := emit(id.Tenant, id.Timeline, nil, "failed", nil, nil, nil, nil, nil, nil, nil, nil, failures[id].Error(), nil, nil)
		if err != nil {
			return err
		}
	}
	return nil
}

func showReceivers(_ context.Context, t *timeline, _ *admin.Call, emit admin.Emit) error {
	for _, p := range t.receivers() {
		s := p.session
		err := emit(s.session.PID, s.greeting.NodeID, s.session.ApplicationName, s.session.Identity.User,
			s.session.Remote.String(), s.started.UTC().Format(time.RFC3339), p.active, p.commit)
		if err != nil {
			return err
		}
	}
	return nil
}
