package safekeeper

import (
	"context"
	"slices"
	"time"

	"github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/internal/walcmd"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/admin"
	"github.com/walhaven/walhaven/replication"
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
	commands := append(admin.Standard(s.settings), []admin.Command{
		{
			Name: "TIMELINE_STATUS", Columns: admin.Text(replication.StatusColumns...), Scope: admin.ScopeTimeline,
			Tag: "TIMELINE_STATUS", Help: "Positions, terms, members and origin of the timeline; no row when it is not here.",
			Handler: s.timelineStatus,
		},
		{
			Name: "WAL_DIGEST", Columns: walcmd.DigestColumns(), Scope: admin.ScopeTimeline, Tag: "WAL_DIGEST",
			Args: []admin.Arg{
				{Name: "start", Kind: admin.KindLSN, Help: "First position."},
				{Name: "end", Kind: admin.KindLSN, Help: "Position behind the last byte."},
			},
			Help:    "SHA-256 of WAL, cut at multiples of 1 MiB.",
			Handler: s.onTimeline(walDigest),
		},
		{
			Name: "CREATE TIMELINE", Scope: admin.ScopeAdmin, Changes: true, Tag: "CREATE TIMELINE",
			Args: []admin.Arg{
				{Name: "tenant", Kind: admin.KindHexID, Help: "Tenant ID, 32 hexadecimal digits."},
				{Name: "timeline", Kind: admin.KindHexID, Help: "Timeline ID, 32 hexadecimal digits."},
			},
			Options: foundingOptions,
			Help:    "Found a timeline on this member; does nothing when it is here just so.",
			Handler: s.createTimeline,
		},
		{
			Name: "CHANGE MEMBERS", Scope: admin.ScopeAdmin, Changes: true, Tag: "CHANGE MEMBERS", Columns: admin.Text("generation", "proposers"),
			Options: membershipOptions,
			Help:    "Ask the proposer that writes here for other members; says how many were told. walhaven member does the whole.",
			Handler: s.onTimeline(s.changeMembers),
		},
		{
			Name: "FORCE MEMBERS", Scope: admin.ScopeAdmin, Changes: true, Tag: "FORCE MEMBERS", Columns: admin.Text("generation", "flush_lsn"),
			Options: append(slices.Clone(membershipOptions), admin.Arg{
				Name: "accept_loss_after", Kind: admin.KindLSN, Help: "Where the loss begins that is accepted; not below what this member knows to be committed.",
			}),
			Help:    "Put a membership in force that the members have not chosen, when a majority is gone for good. walhaven member force-quorum does the whole.",
			Handler: s.onTimeline(s.forceMembers),
		},
		{
			Name: "SHOW NODE", Tag: "SHOW", Help: "This safekeeper.",
			Columns: admin.Text("node_id", "incarnation", "version", "started_at", "timelines", "now", "disk_free_bytes"),
			Handler: func(_ context.Context, _ *admin.Call, emit admin.Emit) error {
				free, _ := s.disk.space()
				return emit(s.dir.Identity.ID, s.dir.Identity.IncarnationHex(), daemon.Version(),
					s.started.UTC().Format(time.RFC3339), len(s.timelines.list()), time.Now().UTC().Format(time.RFC3339Nano), free)
			},
		},
		{
			Name: "SHOW TIMELINES", Tag: "SHOW", Help: "The timelines that are here, and those that did not load.",
			Columns: admin.Text("tenant_id", "timeline_id", "name", "state", "pg_version", "system_id", "tli", "term",
				"flush_lsn", "commit_lsn", "oldest_lsn", "start_lsn", "reason"),
			Handler: s.showTimelines,
		},
		{
			Name: "SHOW SENDERS", Tag: "SHOW", Scope: admin.ScopeTimeline, Help: "Who is being sent WAL.",
			Columns: admin.Text("pid", "kind", "application_name", "usename", "client_addr", "slot_name", "backend_start",
				"state", "sent_lsn", "write_lsn", "flush_lsn", "replay_lsn", "lag_bytes", "reply_age_ms", "error"),
			Handler: s.onTimeline(showSenders),
		},
		{
			Name: "SHOW RECEIVERS", Tag: "SHOW", Scope: admin.ScopeTimeline, Help: "Proposers that are connected.",
			Columns: admin.Text("pid", "application_name", "usename", "client_addr", "backend_start", "writer", "writer_age_ms"),
			Handler: s.onTimeline(showReceivers),
		},
		{
			Name: "SHOW MEMBERS", Tag: "SHOW", Scope: admin.ScopeTimeline, Help: "The membership that this node knows.",
			Columns: admin.Text("node_id", "address", "incarnation", "set", "self", "generation"),
			Handler: s.onTimeline(showMembers),
		},
		{
			Name: "SHOW PEERS", Tag: "SHOW", Scope: admin.ScopeTimeline,
			Help:    "What the other members said when they were last asked, which happens while no writer is heard.",
			Columns: admin.Text("node_id", "address", "term", "last_log_term", "flush_lsn", "commit_lsn", "age_ms", "error"),
			Handler: s.onTimeline(showPeers),
		},
		{
			Name: "SHOW SLOTS", Tag: "SHOW", Scope: admin.ScopeTimeline, Help: "Replication slots; members exchange the persistent ones.",
			Columns: admin.Text("slot_name", "slot_type", "temporary", "active", "active_pid", "restart_lsn", "wal_status", "lag_bytes", "slot_id"),
			Handler: s.onTimeline(showSlots),
		},
		{
			Name: "SHOW DROPPED_SLOTS", Tag: "SHOW", Scope: admin.ScopeTimeline,
			Help:    "Slots that were dropped, for members that still have a copy.",
			Columns: admin.Text("slot_id"),
			Handler: s.onTimeline(showDroppedSlots),
		},
		{
			Name: "SHOW GAPS", Tag: "SHOW", Scope: admin.ScopeTimeline,
			Help:    "WAL that pageservers lack and that this member has removed because its disk ran full.",
			Columns: admin.Text("pageserver", "from_lsn", "to_lsn", "bytes", "since"),
			Handler: s.onTimeline(showGaps),
		},
	}...)
	commands = append(commands, walcmd.TokenCommands(s.o.Tokens, s.tokenTimeline)...)
	commands = append(append(commands, s.promoteCommand()), s.intervalCommands()...)
	return admin.NewTable(append(commands, s.durableCommands()...)...)
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

// timelineStatus has no row for a timeline that is not here, as Neon's clients
// expect; one that is here but cannot be chosen is an error.
func (s *Server) timelineStatus(_ context.Context, call *admin.Call, emit admin.Emit) error {
	t, err := s.timelineOf(call.Target.(*protocol.Session))
	if protocol.SQLState(err) == protocol.CodeUndefinedObject {
		return nil
	}
	if err != nil {
		return err
	}
	return emit(t.accepting.Status().Values()...)
}

func walDigest(ctx context.Context, t *timeline, call *admin.Call, emit admin.Emit) error {
	t.accepting.NoteComparison()
	defer t.accepting.NoteComparison()
	return walcmd.DigestCall(ctx, t.store, call, emit)
}

// foundingOptions are those of CREATE TIMELINE; parseFounding reads them.
var foundingOptions = []admin.Arg{
	{Name: "name", Optional: true, Help: "Name for people, main by default."},
	{Name: "system_id", Kind: admin.KindUint, Help: "System identifier of the PostgreSQL cluster."},
	{Name: "pg_version", Kind: admin.KindUint32, Help: "server_version_num of the PostgreSQL server."},
	{Name: "wal_segment_size", Optional: true, Help: "In bytes, or as SHOW wal_segment_size prints it; 16MB by default."},
	{Name: "start_lsn", Kind: admin.KindLSN, Help: "Position of the first record, the slot's restart_lsn."},
	{Name: "tli", Kind: admin.KindUint32, Optional: true, Help: "PostgreSQL's timeline; 1, or the one that follows tli_history."},
	{Name: "tli_history", Optional: true, Help: "Content of PostgreSQL's timeline history file."},
	{Name: "members", Help: "All members, like 1=host:5454,2=host:5454,3=host:5454."},
	{Name: "generation", Kind: admin.KindUint32, Optional: true, Help: "Generation of the membership, 1 by default."},
	{Name: "incarnations", Optional: true, Help: "The members' incarnations, like 1=<hex>,2=<hex>."},
	{Name: "joining", Kind: admin.KindBool, Optional: true, Help: "Whether this member starts without a vote."},
	{Name: "term_history", Optional: true, Help: "Joining, with the WAL below start_lsn removed: its terms, as TIMELINE_STATUS prints them."},
}

func (s *Server) createTimeline(_ context.Context, call *admin.Call, _ admin.Emit) error {
	tenant, err := wal.ParseTenantID(call.Args["tenant"])
	if err != nil {
		return err
	}
	timelineID, err := wal.ParseTimelineID(call.Args["timeline"])
	if err != nil {
		return err
	}
	session := call.Target.(*protocol.Session)
	if allowed := session.Identity.Tenant; allowed != nil && *allowed != tenant {
		return protocol.Errorf(protocol.CodeInsufficientRight, "role %q may use tenant %s only", session.Identity.User, *allowed)
	}
	f, err := parseFounding(wal.TTID{Tenant: tenant, Timeline: timelineID}, call.Options)
	if err != nil {
		return err
	}
	_, err = s.timelines.found(f)
	return err
}
