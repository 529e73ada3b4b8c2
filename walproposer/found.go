package walproposer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
)

// FoundOptions say which timeline to found for which server.
type FoundOptions struct {
	Postgres    string   // connection string
	Safekeepers []string // connection strings or host:port; all of them become members
	Tenant      wal.TenantID
	Timeline    wal.TimelineID
	Name        string // "" = main
	Slot        string // "" = walhaven
	// Progress hears each statement before it is run; may be nil.
	Progress func(string)
}

// foundation is what a timeline is founded with, the same on every member.
type foundation struct {
	id          wal.TTID
	name        string
	systemID    wal.SystemID
	pgVersion   uint32
	segmentSize wal.SegmentSize
	start       wal.LSN
	history     wal.TimelineHistory
	terms       pushwal.TermHistory // see replication.Beginning
	config      pushwal.Configuration
}

// statement is the CREATE TIMELINE of it.
func (f *foundation) statement(joining bool) string {
	history := string(f.history.Format())
	return fmt.Sprintf("CREATE TIMELINE %s %s (name '%s', system_id '%s', pg_version '%d', wal_segment_size '%d', "+
		"start_lsn '%s', tli '%d', tli_history '%s', generation '%d', members '%s', incarnations '%s', joining '%t'%s)",
		f.id.Tenant, f.id.Timeline, escape(f.name), f.systemID, f.pgVersion, uint32(f.segmentSize),
		f.start, f.history.Last, escape(history), f.config.Generation, replication.FormatMembers(f.config.Members),
		replication.FormatIncarnations(f.config.Members), joining, f.termOption())
}

// termOption tells the terms of WAL that nobody has any more.
func (f *foundation) termOption() string {
	if len(f.terms) == 0 {
		return ""
	}
	return ", term_history '" + replication.FormatTermHistory(f.terms) + "'"
}

// beginAt makes it the foundation of a node that joins those who answer.
func (f *foundation) beginAt(all []replication.Answer) error {
	b, ok := replication.BeginningOf(all)
	if !ok {
		return replication.ErrNoBeginning
	}
	f.start, f.history, f.terms = b.Start, b.TLIHistory, b.History
	return nil
}

func escape(s string) string { return strings.ReplaceAll(s, "'", "''") }

// foundationOf takes over what an existing member has.
func foundationOf(id wal.TTID, name string, s replication.Status) foundation {
	return foundation{
		id: id, name: name, systemID: s.SystemID, pgVersion: s.PGVersion, segmentSize: s.SegmentSize,
		start: s.Start, history: historyAt(s.TLIHistory, s.Start), config: s.Configuration,
	}
}

// historyAt is the part of h that was there at l, where the timeline began.
func historyAt(h wal.TimelineHistory, l wal.LSN) wal.TimelineHistory {
	if part, ok := h.Upto(h.TLIAt(l)); ok {
		return part
	}
	return h
}

// Found makes the replication slot in PostgreSQL and the timeline on the
// safekeepers, on a majority at least. It may be repeated: what exists is kept,
// and members that lack the timeline get what the others have.
func Found(ctx context.Context, o FoundOptions) error {
	o.Name, o.Slot = cmp.Or(o.Name, DefaultTimeline), cmp.Or(o.Slot, DefaultSlot)
	if !validSlot(o.Slot) {
		return fmt.Errorf("slot %q is not a valid name", o.Slot)
	}
	say := o.Progress
	if say == nil {
		say = func(string) {}
	}
	p, err := newPeers(o.Safekeepers, "", "", o.Tenant, o.Timeline.String())
	if err != nil {
		return err
	}
	f, err := existing(ctx, p, o)
	if err != nil {
		return err
	}
	if f == nil {
		if f, err = fresh(ctx, p, o, say); err != nil {
			return err
		}
	}
	return create(ctx, p, f, say)
}

// existing returns what the timeline was founded with, nil if nobody has it.
func existing(ctx context.Context, p *peers, o FoundOptions) (*foundation, error) {
	var found *foundation
	answered := 0
	var failures []error
	for _, s := range p.statuses(ctx, nil) {
		switch {
		case s.Err == nil:
			answered++
			if found == nil || s.Configuration.Generation > found.config.Generation {
				f := foundationOf(wal.TTID{Tenant: o.Tenant, Timeline: o.Timeline}, o.Name, s.Status)
				found = &f
			}
		case errors.Is(s.Err, errNoTimeline):
			answered++
		default:
			failures = append(failures, s.Err)
		}
	}
	if answered <= len(p.all())/2 {
		return nil, errors.Join(append([]error{errNoQuorum}, failures...)...)
	}
	return found, nil
}

// fresh makes the slot and takes what the timeline begins with from the server
// and from the safekeepers.
func fresh(ctx context.Context, p *peers, o FoundOptions, say func(string)) (*foundation, error) {
	say("SELECT pg_create_physical_replication_slot('" + o.Slot + "', true)  -- unless it exists and keeps WAL")
	start, err := reserveSlot(ctx, origin{conninfo: o.Postgres}, o.Slot)
	if err != nil {
		return nil, err
	}
	c, err := connectReplication(ctx, origin{conninfo: o.Postgres})
	if err != nil {
		return nil, err
	}
	defer c.Close() //nolint:errcheck // Nothing was left undone on it.
	s, err := describe(ctx, c)
	if err != nil {
		return nil, err
	}
	f := &foundation{
		id: wal.TTID{Tenant: o.Tenant, Timeline: o.Timeline}, name: o.Name,
		systemID: s.SystemID, pgVersion: s.PGVersion, segmentSize: s.SegmentSize,
		start: start, history: historyAt(s.TLIHistory, start),
		config: pushwal.Configuration{Generation: 1},
	}
	for i := range p.all() {
		m, err := p.member(ctx, i)
		if err != nil {
			return nil, fmt.Errorf("every member has to be reachable when a timeline is founded: %w", err)
		}
		f.config.Members = append(f.config.Members, m)
	}
	if err := f.config.Validate(); err != nil {
		return nil, fmt.Errorf("members of the timeline: %w", err)
	}
	return f, nil
}

// member asks a safekeeper who it is.
func (p *peers) member(ctx context.Context, peer int) (m pushwal.Member, err error) {
	rows, err := p.query(ctx, peer, "SHOW NODE", lookTimeout)
	if err != nil {
		return m, err
	}
	if len(rows) != 1 {
		return m, fmt.Errorf("safekeeper %s: SHOW NODE answers %d rows", p.address(peer), len(rows))
	}
	id, err := rows[0].Uint("node_id")
	if err != nil {
		return m, err
	}
	if m.Incarnation, err = pushwal.ParseIncarnation(rows[0]["incarnation"]); err != nil {
		return m, err
	}
	host, port, err := net.SplitHostPort(p.address(peer))
	if err != nil {
		return m, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	m.ID, m.Host, m.Port = pushwal.NodeID(id), host, uint16(n)
	return m, err
}

// create founds the timeline wherever it is missing.
func create(ctx context.Context, p *peers, f *foundation, say func(string)) error {
	all := p.statuses(ctx, nil)
	past := pastOf(all, len(f.config.Members))
	missing := slices.ContainsFunc(all, func(s replication.Answer) bool { return errors.Is(s.Err, errNoTimeline) })
	if missing && past == pastVotes {
		if err := f.beginAt(all); err != nil {
			return err
		}
	}
	done := 0
	var failures []error
	for i, s := range all {
		err := s.Err
		if errors.Is(err, errNoTimeline) {
			err = p.createAt(ctx, i, f, past, say)
		}
		if err != nil {
			failures = append(failures, fmt.Errorf("safekeeper %s: %w", p.address(i), err))
			continue
		}
		done++
	}
	if done <= len(p.all())/2 {
		return fmt.Errorf("found the timeline: only %d of %d safekeepers took it: %w", done, len(p.all()), errors.Join(failures...))
	}
	return nil
}

// past is what a timeline has behind it.
type past int

const (
	pastNone    past = iota // no member has ever voted
	pastUnknown             // nobody who answers has, and not everyone answers
	pastVotes               // members have voted, and may have acknowledged WAL
)

// pastOf tells it from what all of a timeline's members say.
func pastOf(all []replication.Answer, members int) past {
	answered := 0
	for _, s := range all {
		switch {
		case s.Err == nil && (s.Term > 0 || s.FlushLSN > s.Start):
			return pastVotes
		case s.Err == nil || errors.Is(s.Err, errNoTimeline):
			answered++
		}
	}
	if answered < max(members, len(all)) {
		return pastUnknown
	}
	return pastNone
}

// foundTimeout bounds CREATE TIMELINE, which waits for several fsyncs.
const foundTimeout = 30 * time.Second

// createAt founds the timeline on one safekeeper: as a joining node if its data
// directory is not the one that the members were told of, or if it may have
// voted before it lost the timeline.
func (p *peers) createAt(ctx context.Context, peer int, f *foundation, past past, say func(string)) error {
	m, err := p.member(ctx, peer)
	if err != nil {
		return err
	}
	if !f.config.Has(m.ID) {
		return fmt.Errorf("node %d is no member of generation %d", m.ID, f.config.Generation)
	}
	joining := past == pastVotes
	for _, known := range f.config.Members {
		joining = joining || known.ID == m.ID && known.Incarnation != m.Incarnation
	}
	statement := f.statement(false)
	switch {
	case joining:
		statement = f.statement(true)
	case past == pastUnknown:
		return fmt.Errorf("node %d lacks the timeline; whether it ever voted is known only when every member answers", m.ID)
	}
	say(p.address(peer) + ": " + statement)
	_, err = p.query(ctx, peer, statement, foundTimeout)
	return err
}
