package pageserver

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/walhaven/walhaven/ingest"
	"github.com/walhaven/walhaven/pageread"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/admin"
	"github.com/walhaven/walhaven/wal"
)

// moment is a position that can be read at, and what it was asked for as.
type moment struct {
	lsn wal.LSN
	// Of a time: the last commit in it, and the first one that is later; LSN 0
	// where none is known.
	before, after ingest.Commit
	// open says that commits of the time asked for may still arrive.
	open bool
}

// past is what questions about the past are answered from.
type past struct {
	tl     *pagestore.Timeline
	reader *pageread.Reader
	base   wal.LSN // where the base became consistent
}

func (p *pages) past() (past, error) {
	reader, err := p.use()
	if err != nil {
		return past{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tl == nil {
		return past{}, errThrownAway
	}
	return past{tl: p.tl, reader: reader, base: p.base.Stop}, nil
}

// resolve finds what people call a moment: an LSN, a time with its zone,
// name:RESTORE_POINT, xid:NUMBER, or latest.
func (p past) resolve(ctx context.Context, text string) (moment, error) {
	kind, rest, _ := strings.Cut(text, ":")
	switch lsn, err := wal.ParseLSN(text); {
	case err == nil:
		return p.atLSN(lsn)
	case text == "latest":
		return moment{lsn: max(p.reader.Last(), p.reader.Floor())}, nil
	case kind == "name":
		return p.atRestorePoint(ctx, rest)
	case kind == "xid":
		return p.atCommit(ctx, rest)
	}
	at, err := parseTime(text)
	if err != nil {
		return moment{}, err
	}
	return p.atTime(ctx, at)
}

// outside refuses a position that is not kept, or not here yet.
func (p past) outside(what string) *protocol.Error {
	return protocol.Errorf(protocol.CodeOutsideWindow, "%s is outside of what can be restored", what).
		WithDetail("Pages are kept from %s up to %s.", p.reader.Floor(), p.reader.Last()).
		WithHint("SHOW WINDOW tells the times.")
}

// atLSN takes the LSN for the one that a read at it means: a pin keeps exactly that.
func (p past) atLSN(lsn wal.LSN) (moment, error) {
	lsn = p.reader.RecordEnd(lsn)
	if lsn > p.reader.Last() {
		return moment{}, p.outside("LSN " + lsn.String())
	}
	if err := p.reader.Readable(lsn); err != nil {
		return moment{}, p.outside("LSN " + lsn.String())
	}
	return moment{lsn: lsn}, nil
}

func (p past) atRestorePoint(ctx context.Context, name string) (moment, error) {
	var found []wal.LSN
	err := ingest.Events(ctx, p.tl, ingest.EventRestorePoint, 0, p.reader.Last(), func(e ingest.Event) bool {
		if e.Name == name {
			found = append(found, e.LSN)
		}
		return true
	})
	switch {
	case err != nil:
		return moment{}, err
	case len(found) == 0:
		return moment{}, protocol.Errorf(protocol.CodeUndefinedObject, "there is no restore point %q", name).
			WithHint("FIND 'restore-point' lists those that there are.")
	case len(found) > 1:
		return moment{}, protocol.Errorf(protocol.CodeInvalidParameter, "there are %d restore points %q", len(found), name).
			WithHint("Name one by its LSN: %s.", joinLSNs(found))
	}
	return p.atLSN(found[0])
}

func joinLSNs(lsns []wal.LSN) string {
	const most = 10
	parts := make([]string, 0, most)
	for _, l := range lsns[max(0, len(lsns)-most):] {
		parts = append(parts, l.String())
	}
	return strings.Join(parts, ", ")
}

// atCommit is the position at which a transaction has just committed.
func (p past) atCommit(ctx context.Context, text string) (moment, error) {
	xid, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return moment{}, protocol.Errorf(protocol.CodeInvalidParameter, "invalid transaction number %q", text)
	}
	lsn, err := p.reader.CommitOf(ctx, uint32(xid)) // An xid with its epoch is taken, too.
	var collected *pageread.CollectedError
	switch {
	case errors.As(err, &collected):
		// The one that the window begins with is in it.
		if c, _, found, err := ingest.CommitsUpTo(ctx, p.tl, collected.Oldest); err != nil {
			return moment{}, err
		} else if found && c.XID == uint32(xid) {
			return moment{lsn: max(c.LSN, collected.Oldest)}, nil
		}
		return moment{}, p.outside("the commit of transaction " + text)
	case errors.Is(err, pageread.ErrNoTransaction), errors.Is(err, pageread.ErrAborted):
		return moment{}, protocol.Errorf(protocol.CodeUndefinedObject, "%w", err)
	case err != nil:
		return moment{}, pageError(err)
	}
	return moment{lsn: lsn}, nil
}

// atTime is the position whose state recovery_target_time would give: no commit
// up to it is later than the time, and the next one is.
func (p past) atTime(ctx context.Context, at time.Time) (moment, error) {
	a, err := ingest.LSNAt(ctx, p.tl, wal.TimestampOf(at))
	if err != nil {
		return moment{}, err
	}
	floor := p.reader.Floor()
	what := "time " + at.UTC().Format(time.RFC3339Nano)
	switch {
	case a.Before.LSN == 0 && a.After.LSN == 0:
		return moment{}, protocol.Errorf(protocol.CodeOutsideWindow, "%s cannot be placed: no commit is known yet", what)
	case a.Before.LSN == 0, a.After.LSN != 0 && a.After.LSN <= floor:
		return moment{}, p.outside(what)
	}
	return moment{lsn: max(a.Before.LSN, floor), before: a.Before, after: a.After, open: a.After.LSN == 0}, nil
}

// timeForms are accepted, all with a zone: a time without one means something
// else to everyone.
var timeForms = []string{
	time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999Z07", "2006-01-02 15:04:05.999999999 MST",
}

func parseTime(text string) (time.Time, error) {
	for _, form := range timeForms {
		if t, err := time.Parse(form, text); err == nil && (!strings.HasSuffix(form, "MST") || t.Location() == time.UTC) {
			return t, nil
		}
	}
	return time.Time{}, protocol.Errorf(protocol.CodeInvalidParameter, "invalid time %q", text).
		WithHint("Write it with its zone: 2026-11-22 10:42:07+01, or ...T09:42:07Z.")
}

// momentCommands are the commands that turn what people remember into LSNs.
func (s *Server) momentCommands() []admin.Command {
	return []admin.Command{
		{
			Name: "SHOW LSN", Scope: admin.ScopeTimeline, Tag: "SHOW", Help: "The LSN that a time, restore point or transaction means.",
			Args: []admin.Arg{{
				Name: "at", Keyword: "AT",
				Help: "'X/Y', a time with its zone, 'name:RESTORE_POINT', 'xid:NUMBER' or 'latest'.",
			}},
			Columns: admin.Text("lsn", "commit_lsn", "commit_time", "commit_xid", "next_commit_lsn", "next_commit_time", "complete"),
			Handler: s.onPast(showLSN),
		},
		{
			Name: "SHOW WINDOW", Scope: admin.ScopeTimeline, Tag: "SHOW", Help: "From which moment up to which pages are kept.",
			Columns: admin.Text("oldest_lsn", "oldest_time", "newest_lsn", "newest_commit_lsn", "newest_commit_time", "restore_window",
				"oldest_wal_lsn", "pins"),
			Handler: s.onTimeline(s.showWindow),
		},
	}
}

// onPast makes a handler of a function that asks about the timeline's past.
func (s *Server) onPast(f func(ctx context.Context, p past, call *admin.Call, emit admin.Emit) error) admin.Func {
	return s.onTimeline(func(ctx context.Context, t *timeline, call *admin.Call, emit admin.Emit) error {
		p, err := t.pages.past()
		if err != nil {
			return err
		}
		return pageError(f(ctx, p, call, emit))
	})
}

func showLSN(ctx context.Context, p past, call *admin.Call, emit admin.Emit) error {
	m, err := p.resolve(ctx, call.Args["at"])
	if err != nil {
		return err
	}
	row := []any{m.lsn, nil, nil, nil, nil, nil, !m.open}
	if m.before.LSN != 0 {
		row[1], row[2], row[3] = m.before.LSN, timeText(m.before.Time), m.before.XID
	}
	if m.after.LSN != 0 {
		row[4], row[5] = m.after.LSN, timeText(m.after.Time)
	}
	return emit(row...)
}

// timeText has the microseconds of PostgreSQL's timestamps.
func timeText(t wal.Timestamp) string {
	return t.Time().UTC().Format("2006-01-02T15:04:05.000000Z")
}

func (s *Server) showWindow(ctx context.Context, t *timeline, _ *admin.Call, emit admin.Emit) error {
	p, err := t.pages.past()
	if err != nil {
		return err
	}
	w, err := ingest.WindowOf(ctx, p.tl, p.base)
	if err != nil {
		return fmt.Errorf("find the window: %w", err)
	}
	row := []any{
		w.Oldest, nil, p.reader.Last(), nil, nil, s.o.Config.RestoreWindow.String(), t.store.Oldest(), len(p.tl.Pins()),
	}
	if w.From != 0 {
		row[1] = timeText(w.From)
	}
	if w.Last.LSN != 0 {
		row[3], row[4] = w.Last.LSN, timeText(w.Last.Time)
	}
	return emit(row...)
}
