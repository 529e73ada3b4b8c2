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

// findKinds are the kinds of events that tell.
var findKinds = map[string][]ingest.EventKind{
	findDrop:         {ingest.EventCatalog, ingest.EventDatabaseDropped},
	findTruncate:     {ingest.EventCatalog, ingest.EventCut},
	findRestorePoint: {ingest.EventRestorePoint},
}

const (
	defaultFindLimit = 100
	// kindDatabase stands for databases among relkinds; none is called so.
	kindDatabase = 'd'
	// defaultFindKinds are databases and all relkinds but indexes and TOAST.
	defaultFindKinds = "rpmvfScd"
)

// findCommands are the commands about what happened.
func (s *Server) findCommands() []admin.Command {
	return []admin.Command{{
		Name: "FIND", Scope: admin.ScopeTimeline, Tag: "FIND",
		Help: "Drops, truncations or restore points within the window, newest first, with the names of that time.",
		Args: []admin.Arg{
			{Name: "what", Help: "'drop', 'truncate' or 'restore-point'."},
			{Name: "pattern", Keyword: "NAMED", Optional: true, Help: "Name, with * and ?; with a full stop it is compared with schema.name."},
			{Name: "kinds", Keyword: "KINDS", Optional: true, Help: "relkinds to list, and d for databases; all but indexes and TOAST by default: 'rpmvfScd'."},
			{Name: "limit", Keyword: "LIMIT", Kind: admin.KindUint32, Optional: true, Help: "Rows at most (100)."},
		},
		Columns: admin.Text("lsn", "before_lsn", "time", "xid", "event", "database", "schema", "name", "kind", "oid", "relation", "blocks"),
		Handler: s.onPast(find),
	}}
}

// finding is one FIND.
type finding struct {
	past
	what, pattern, kinds string
	left                 int
	emit                 admin.Emit
	restore              struct{ of, to wal.LSN } // last answer of restoreTo
}

func find(ctx context.Context, p past, call *admin.Call, emit admin.Emit) error {
	f := finding{
		past: p, what: call.Args["what"], pattern: cmp.Or(call.Args["pattern"], "*"),
		kinds: cmp.Or(call.Args["kinds"], defaultFindKinds), left: defaultFindLimit, emit: emit,
	}
	if _, err := path.Match(f.pattern, ""); err != nil {
		return protocol.Errorf(protocol.CodeInvalidParameter, "invalid pattern %q", f.pattern)
	}
	if text := call.Args["limit"]; text != "" {
		f.left, _ = strconv.Atoi(text) // The table has checked it.
	}
	kinds, ok := findKinds[f.what]
	if !ok {
		return protocol.Errorf(protocol.CodeInvalidParameter, "%q cannot be looked for", f.what).
			WithHint("'drop', 'truncate' or 'restore-point' can.")
	}
	return f.backwards(ctx, kinds)
}

// occasion is an LSN at which events of a kind are.
type occasion struct {
	lsn  wal.LSN
	kind ingest.EventKind
}

// The events are looked through in stretches of WAL, from the newest on, so that
// neither their number nor the length of the window takes memory.
const (
	firstStretch = 64 << 20 // bytes of WAL
	leastStretch = 1 << 20
	maxOccasions = 1 << 17 // of a stretch; one of the least length cannot have as many
)

// backwards looks at all events of some kinds, newest first, until there are
// enough rows.
func (f *finding) backwards(ctx context.Context, kinds []ingest.EventKind) error {
	stretch := wal.LSN(firstStretch)
	floor := f.reader.Floor()
	for upTo := f.reader.Last(); upTo > floor && f.left > 0; {
		after := floor
		if upTo-floor > stretch {
			after = upTo - stretch
		}
		found, all, err := f.occasions(ctx, kinds, after, upTo)
		if err != nil {
			return err
		}
		if !all && stretch > leastStretch {
			stretch /= 4
			continue
		}
		for _, m := range found {
			if f.left <= 0 {
				break
			}
			if err := f.occasion(ctx, m); err != nil {
				return err
			}
		}
		upTo = after
		if len(found) < maxOccasions/64 {
			stretch *= 4
		}
	}
	return nil
}

// occasions are those in (after, upTo], newest first; all is false when there are
// more than a stretch should have.
func (f *finding) occasions(ctx context.Context, kinds []ingest.EventKind, after, upTo wal.LSN) (list []occasion, all bool, err error) {
	for _, kind := range kinds {
		err := ingest.Events(ctx, f.tl, kind, after, upTo, func(e ingest.Event) bool {
			m := occasion{e.LSN, kind}
			// A record may have several events of a kind.
			if (len(list) == 0 || list[len(list)-1] != m) && (kind != ingest.EventCut || mayBeTruncate(&e)) {
				list = append(list, m)
			}
			return len(list) <= maxOccasions
		})
		if err != nil || len(list) > maxOccasions {
			return list, false, err
		}
	}
	slices.SortFunc(list, func(a, b occasion) int {
		return cmp.Or(cmp.Compare(b.lsn, a.lsn), cmp.Compare(a.kind, b.kind))
	})
	return list, true, nil
}

// occasion reports what happened at one.
func (f *finding) occasion(ctx context.Context, m occasion) error {
	var e ingest.Event // All of the record's in one.
	err := ingest.Events(ctx, f.tl, m.kind, m.lsn-1, m.lsn, func(part ingest.Event) bool {
		part.Rels = append(e.Rels, part.Rels...)
		e = part
		return true
	})
	if err != nil {
		return err
	}
	switch m.kind {
	case ingest.EventRestorePoint:
		if !matches(f.pattern, "", e.Name) {
			return nil
		}
		f.left--
		return f.emit(e.LSN, e.LSN, timeText(e.Time), nil, f.what, nil, nil, e.Name, nil, nil, nil, nil)
	case ingest.EventCut:
		return f.truncatedAsNew(ctx, &e)
	case ingest.EventDatabaseDropped:
		return f.database(ctx, &e)
	}
	for rels := range byDatabase(e.Rels) {
		c, err := f.change(ctx, &e, rels)
		switch {
		case err != nil:
			return err
		case f.what == findDrop:
			err = c.dropped(ctx)
		default:
			err = c.truncated(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// byDatabase cuts a sorted list into one for each database.
func byDatabase(rels []walrecord.RelFile) func(yield func([]walrecord.RelFile) bool) {
	return func(yield func([]walrecord.RelFile) bool) {
		for len(rels) > 0 {
			n := 1
			for n < len(rels) && rels[n].Database == rels[0].Database {
				n++
			}
			if !yield(rels[:n]) {
				return
			}
			rels = rels[n:]
		}
	}
}

// database reports a database that was dropped.
func (f *finding) database(ctx context.Context, e *ingest.Event) error {
	if strings.IndexByte(f.kinds, kindDatabase) < 0 {
		return nil
	}
	db := e.Rels[0].Database
	catalog, err := f.catalog(ctx, db, e.LSN-1)
	if err != nil {
		return err
	}
	name, err := catalog.DatabaseName(ctx)
	if err != nil || !matches(f.pattern, "", name) {
		return err
	}
	restore, err := f.restoreTo(ctx, e.LSN)
	if err != nil {
		return err
	}
	f.left--
	return f.emit(e.LSN, restore, timeText(e.Time), e.XID, "drop database", name, nil, name, nil, db, nil, nil)
}

func (f *finding) catalog(ctx context.Context, db uint32, lsn wal.LSN) (*pageread.Catalog, error) {
	at, err := f.reader.Exactly(ctx, lsn)
	if err != nil {
		return nil, err
	}
	return f.reader.Catalog(ctx, db, at)
}

// relation reports what happened to a relation, as the catalog knew it.
func (f *finding) relation(ctx context.Context, e *ingest.Event, catalog *pageread.Catalog, c *pageread.Class) error {
	if strings.IndexByte(f.kinds, c.Kind) < 0 {
		return nil
	}
	schema, err := catalog.Schema(ctx, c.Namespace)
	if err != nil || !matches(f.pattern, schema, c.Name) {
		return err
	}
	name, err := catalog.DatabaseName(ctx)
	if err != nil {
		return err
	}
	var restore, file, blocks any
	if e.Kind != ingest.EventCut {
		if restore, err = f.restoreTo(ctx, e.LSN); err != nil {
			return err
		}
	}
	if c.File.Relation != 0 {
		at, err := f.reader.Exactly(ctx, e.LSN-1)
		if err != nil {
			return err
		}
		size, err := f.blocks(ctx, c.File, at)
		if err != nil {
			return err
		}
		file, blocks = c.File.String(), size
	}
	f.left--
	return f.emit(e.LSN, restore, timeText(e.Time), e.XID, f.what, name, schema, c.Name, string(c.Kind), c.OID, file, blocks)
}

// blocks is the length of a relation, 0 for one without files.
func (f *finding) blocks(ctx context.Context, rel walrecord.RelFile, at pageread.At) (uint32, error) {
	if exists, err := f.reader.Exists(ctx, rel, walrecord.ForkMain, at); err != nil || !exists {
		return 0, err
	}
	return f.reader.Size(ctx, rel, walrecord.ForkMain, at)
}

// restoreTo is the position to go back to before what a commit did: the end of
// the commit before.
func (f *finding) restoreTo(ctx context.Context, lsn wal.LSN) (wal.LSN, error) {
	if f.restore.of == lsn {
		return f.restore.to, nil // Of another relation of the same commit.
	}
	c, _, _, err := ingest.CommitsUpTo(ctx, f.tl, lsn-1)
	if err != nil {
		return 0, err
	}
	f.restore.of, f.restore.to = lsn, max(c.LSN, f.reader.Floor())
	return f.restore.to, nil
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
