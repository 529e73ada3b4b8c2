package pageserver

import (
	"cmp"
	"context"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/walhaven/walhaven/ingest"
	"github.com/walhaven/walhaven/pageread"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/admin"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// What FIND looks for.
const (
	findDrop         = "drop"
	findTruncate     = "truncate"
	findRestorePoint = "restore-point"
)

const defaultFindLimit = 100

// findCommands are the commands about what happened.
func (s *Server) findCommands() []admin.Command {
	return []admin.Command{{
		Name: "FIND", Scope: admin.ScopeTimeline, Tag: "FIND",
		Help: "Drops, truncations or restore points within the window, newest first, with the names of that time.",
		Args: []admin.Arg{
			{Name: "what", Help: "'drop', 'truncate' or 'restore-point'."},
			{Name: "pattern", Keyword: "NAMED", Optional: true, Help: "Name, with * and ?; with a full stop it is compared with schema.name."},
			{Name: "kinds", Keyword: "KINDS", Optional: true, Help: "relkinds to list, 'rmS' by default: tables, materialised views, sequences."},
			{Name: "limit", Keyword: "LIMIT", Kind: admin.KindUint32, Optional: true, Help: "Rows at most (100)."},
		},
		Columns: admin.Text("lsn", "before_lsn", "time", "xid", "event", "database", "schema", "name", "kind", "oid", "relation"),
		Handler: s.onPast(find),
	}}
}

// finding is one FIND.
type finding struct {
	past
	what, pattern, kinds string
	left                 int
	emit                 admin.Emit
}

func find(ctx context.Context, p past, call *admin.Call, emit admin.Emit) error {
	f := finding{
		past: p, what: call.Args["what"], pattern: cmp.Or(call.Args["pattern"], "*"), kinds: cmp.Or(call.Args["kinds"], "rmS"),
		left: defaultFindLimit, emit: emit,
	}
	if _, err := path.Match(f.pattern, ""); err != nil {
		return protocol.Errorf(protocol.CodeInvalidParameter, "invalid pattern %q", f.pattern)
	}
	if text := call.Args["limit"]; text != "" {
		f.left, _ = strconv.Atoi(text) // The table has checked it.
	}
	var kinds []ingest.EventKind
	switch f.what {
	case findDrop:
		kinds = []ingest.EventKind{ingest.EventDrop, ingest.EventDatabaseDropped}
	case findTruncate:
		kinds = []ingest.EventKind{ingest.EventDrop}
	case findRestorePoint:
		kinds = []ingest.EventKind{ingest.EventRestorePoint}
	default:
		return protocol.Errorf(protocol.CodeInvalidParameter, "%q cannot be looked for", f.what).
			WithHint("'drop', 'truncate' or 'restore-point' can.")
	}
	events, err := f.events(ctx, kinds)
	if err != nil {
		return err
	}
	for i := range events {
		if f.left <= 0 {
			break
		}
		if err := f.event(ctx, &events[i]); err != nil {
			return err
		}
	}
	return nil
}

// maxEvents bounds what one FIND looks through.
const maxEvents = 1 << 20

// events are those of some kinds within the window, newest first.
func (f *finding) events(ctx context.Context, kinds []ingest.EventKind) (all []ingest.Event, err error) {
	for _, kind := range kinds {
		err := ingest.Events(ctx, f.tl, kind, f.reader.Floor(), f.reader.Last(), func(e ingest.Event) bool {
			all = append(all, e)
			return len(all) <= maxEvents
		})
		if err != nil {
			return nil, err
		}
	}
	if len(all) > maxEvents {
		return nil, protocol.Errorf(protocol.CodeProgramLimit, "there are more than %d events in the window", maxEvents)
	}
	slices.SortFunc(all, func(a, b ingest.Event) int { return cmp.Compare(b.LSN, a.LSN) })
	// A database has an event for each of its tablespaces.
	return slices.CompactFunc(all, func(a, b ingest.Event) bool { return a.LSN == b.LSN && a.Kind == b.Kind }), nil
}

func (f *finding) event(ctx context.Context, e *ingest.Event) error {
	if e.Kind == ingest.EventRestorePoint {
		if !matches(f.pattern, "", e.Name) {
			return nil
		}
		f.left--
		return f.emit(e.LSN, e.LSN, timeText(e.Time), nil, f.what, nil, nil, e.Name, nil, nil, nil)
	}
	before, err := f.reader.Exactly(ctx, e.LSN-1)
	if err != nil {
		return err
	}
	if e.Kind == ingest.EventDatabaseDropped {
		return f.database(ctx, e, before)
	}
	after, err := f.reader.Exactly(ctx, e.LSN)
	if err != nil {
		return err
	}
	for _, db := range databasesOf(e.Rels) {
		if err := f.relations(ctx, e, db, before, after); err != nil {
			return err
		}
	}
	return nil
}

func databasesOf(rels []walrecord.RelFile) (dbs []uint32) {
	for _, r := range rels {
		if r.Database != 0 && !slices.Contains(dbs, r.Database) {
			dbs = append(dbs, r.Database)
		}
	}
	return dbs
}

// database reports a database that was dropped.
func (f *finding) database(ctx context.Context, e *ingest.Event, before pageread.At) error {
	db := e.Rels[0].Database
	name, err := f.reader.DatabaseName(ctx, db, before)
	if err != nil {
		return err
	}
	if !matches(f.pattern, "", name) {
		return nil
	}
	restore, err := f.restoreTo(ctx, e.LSN)
	if err != nil {
		return err
	}
	f.left--
	return f.emit(e.LSN, restore, timeText(e.Time), e.XID, "drop database", name, nil, name, nil, db, nil)
}

// relations reports what happened to the relations of a database whose files a
// commit removed: those that are gone were dropped, those that have other files
// were rewritten, and truncated if there is nothing in the new ones.
func (f *finding) relations(ctx context.Context, e *ingest.Event, db uint32, before, after pageread.At) error {
	gone, err := f.reader.Classes(ctx, db, before, func(c *pageread.Class) bool {
		return slices.Contains(e.Rels, c.File) && strings.IndexByte(f.kinds, c.Kind) >= 0
	})
	if err != nil || len(gone) == 0 {
		return err
	}
	now := map[uint32]walrecord.RelFile{}
	_, err = f.reader.Classes(ctx, db, after, func(c *pageread.Class) bool {
		if slices.ContainsFunc(gone, func(g pageread.Class) bool { return g.OID == c.OID }) {
			now[c.OID] = c.File
		}
		return false
	})
	if err != nil {
		return err
	}
	for i := range gone {
		c := &gone[i]
		file, exists := now[c.OID]
		if f.left <= 0 || !matches(f.pattern, c.Schema, c.Name) || exists != (f.what == findTruncate) {
			continue
		}
		if exists {
			if emptied, err := f.emptied(ctx, c.File, file, before, after); err != nil || !emptied {
				if err != nil {
					return err
				}
				continue
			}
		}
		if err := f.relation(ctx, e, db, c, before); err != nil {
			return err
		}
	}
	return nil
}

// emptied says whether a relation had blocks in its old file and has none in the
// new one.
func (f *finding) emptied(ctx context.Context, old, fresh walrecord.RelFile, before, after pageread.At) (bool, error) {
	size := func(rel walrecord.RelFile, at pageread.At) (uint32, error) {
		if exists, err := f.reader.Exists(ctx, rel, walrecord.ForkMain, at); err != nil || !exists {
			return 0, err
		}
		return f.reader.Size(ctx, rel, walrecord.ForkMain, at)
	}
	had, err := size(old, before)
	if err != nil || had == 0 {
		return false, err
	}
	has, err := size(fresh, after)
	return has == 0, err
}

func (f *finding) relation(ctx context.Context, e *ingest.Event, db uint32, c *pageread.Class, before pageread.At) error {
	name, err := f.reader.DatabaseName(ctx, db, before)
	if err != nil {
		return err
	}
	restore, err := f.restoreTo(ctx, e.LSN)
	if err != nil {
		return err
	}
	f.left--
	return f.emit(e.LSN, restore, timeText(e.Time), e.XID, f.what, name, c.Schema, c.Name, string(c.Kind), c.OID, c.File.String())
}

// restoreTo is the position to go back to before what a commit did: the end of
// the commit before.
func (f *finding) restoreTo(ctx context.Context, lsn wal.LSN) (wal.LSN, error) {
	c, _, _, err := ingest.CommitsUpTo(ctx, f.tl, lsn-1)
	return max(c.LSN, f.reader.Floor()), err
}

// matches compares a name with a pattern, as psql does: with its schema if there
// is a full stop in the pattern.
func matches(pattern, schema, name string) bool {
	if strings.Contains(pattern, ".") && schema != "" {
		name = schema + "." + name
	}
	ok, err := path.Match(pattern, name)
	return err == nil && ok
}
