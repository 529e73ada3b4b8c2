package pageserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/walhaven/walhaven/baseimport"
	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/internal/pgdata"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/admin"
	"github.com/walhaven/walhaven/wal"
)

// commandImport is the command that takes a base backup in a CopyBoth stream.
const commandImport = "IMPORT"

// Fail points of an import, in order.
const (
	pointImportLoaded  = "pageserver/import/loaded"  // all is durable in the page store
	pointImportKept    = "pageserver/import/kept"    // the base file is durable
	pointImportReached = "pageserver/import/reached" // committed WAL has passed the stop
	pointImportVisible = "pageserver/import/visible" // that is durable
)

// importSilence is how long an importer may say nothing.
const importSilence = 10 * time.Minute

// importTimelineStart is below every batch of an import.
const importTimelineStart = 1

func (s *Server) importCommand() admin.Command {
	return admin.Command{
		Name: commandImport, Scope: admin.ScopeTimeline, Changes: true, Tag: commandImport,
		Help:    "Take a base backup, as walhaven import sends it in a stream, as what the timeline's pages begin from.",
		Columns: admin.Text("start_lsn", "stop_lsn", "tli", "files", "relations", "blocks", "bytes"),
		Handler: func(context.Context, *admin.Call, admin.Emit) error {
			return protocol.Errorf(protocol.CodeFeatureNotSupported, "%s is spoken by walhaven import only", commandImport)
		},
	}
}

// importBase takes a base backup from a session.
func (s *Server) importBase(ctx context.Context, session *protocol.Session, call *admin.Call, w *protocol.ResultWriter) error {
	t, err := s.timelineOf(session)
	if err != nil {
		return err
	}
	if !session.Identity.Admin {
		return protocol.Errorf(protocol.CodeInsufficientRight, "permission denied to import a base backup").
			WithHint("The user %q lacks the attribute admin in the users file.", session.Identity.User)
	}
	tl, err := t.pages.beginImport()
	if err != nil {
		return err
	}
	b, stats, err := t.pages.receive(ctx, tl, w)
	if err != nil {
		t.pages.abandon(err)
		return err
	}
	t.logger.Info("base backup imported", "start_lsn", b.Start, "stop_lsn", b.Stop, "tli", b.TLI, "blocks", stats.Blocks)
	if err := w.Columns(call.Columns()...); err != nil {
		return err
	}
	if err := w.Row(b.Start, b.Stop, b.TLI, stats.Files, stats.Relations, stats.Blocks, stats.Bytes); err != nil {
		return err
	}
	return w.Complete(commandImport)
}

// beginImport makes room for an import.
func (p *pages) beginImport() (*pagestore.Timeline, error) {
	store, err := p.storage.use()
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch p.phase {
	case phaseNone:
	case phaseImporting:
		return nil, protocol.Errorf(protocol.CodeObjectInUse, "another import into timeline %s is running", p.timeline.id.Timeline)
	default:
		return nil, protocol.Errorf(protocol.CodeDuplicateObject, "timeline %s has pages already, from %s on", p.timeline.id.Timeline, p.base.Stop)
	}
	if p.failed != nil {
		return nil, fmt.Errorf("the pages of timeline %s cannot be used: %w", p.timeline.id.Timeline, p.failed)
	}
	tl, err := store.Create(p.timeline.id.Timeline, importTimelineStart)
	if errors.Is(err, pagestore.ErrExists) {
		// Of another tenant with the same timeline ID, or of an import that could not
		// be removed: neither is ours to take.
		return nil, protocol.Errorf(protocol.CodeDuplicateObject, "the page store has a timeline %s already", p.timeline.id.Timeline)
	}
	if err != nil {
		return nil, fmt.Errorf("begin import: %w", err)
	}
	p.reason = ""
	p.enter(phaseImporting)
	return tl, nil
}

// receive loads what the stream brings and puts it to use.
func (p *pages) receive(ctx context.Context, tl *pagestore.Timeline, w *protocol.ResultWriter) (base, baseimport.Stats, error) {
	stream, err := w.CopyBoth()
	if err != nil {
		return base{}, baseimport.Stats{}, err
	}
	stream.SetReadIdle(importSilence)
	loader := baseimport.NewLoader(tl)
	end, err := loadArchives(ctx, loader, baseimport.NewReceiver(stream.Receive))
	if err != nil {
		return base{}, baseimport.Stats{}, err
	}
	loaded, err := loader.Finish(ctx)
	if err != nil {
		return base{}, baseimport.Stats{}, err
	}
	invariant.Point(pointImportLoaded)
	b, err := p.checkBase(loaded, end)
	if err != nil {
		return base{}, baseimport.Stats{}, err
	}
	if err := writeBase(p.dir, b); err != nil {
		return base{}, baseimport.Stats{}, err
	}
	invariant.Point(pointImportKept)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begin(tl, b)
	return b, loader.Stats(), nil
}

// loadArchives loads all archives and reads on to the end of the stream: one
// that ends early has no message that says it is complete.
func loadArchives(ctx context.Context, l *baseimport.Loader, r *baseimport.Receiver) (baseimport.End, error) {
	for {
		oid, location, end, err := r.Next()
		switch {
		case errors.Is(err, baseimport.ErrMessage), errors.Is(err, baseimport.ErrIncomplete):
			return baseimport.End{}, protocol.Errorf(protocol.CodeProtocolViolation, "%w", err)
		case err != nil:
			return baseimport.End{}, err
		case end != nil:
			return *end, nil
		}
		if oid != 0 && location != "" {
			if err := l.Tablespace(ctx, oid, location); err != nil {
				return baseimport.End{}, err
			}
		}
		err = l.Archive(ctx, oid, r)
		if errors.Is(err, baseimport.ErrIncomplete) {
			err = protocol.Errorf(protocol.CodeProtocolViolation, "%w", err)
		}
		if err != nil {
			return baseimport.End{}, err
		}
	}
}

// checkBase compares a backup with the timeline that it is to become the base of.
func (p *pages) checkBase(loaded baseimport.Base, end baseimport.End) (base, error) {
	c := p.timeline.store.Control()
	b := base{Start: loaded.Start, Stop: end.Stop, TLI: loaded.TLI}
	if end.Stop == 0 && loaded.Control.State == pgdata.ShutDown {
		b.Stop = b.Start
	}
	refuse := func(format string, args ...any) (base, *protocol.Error) {
		return b, protocol.Errorf(protocol.CodeNotInState, format, args...)
	}
	oldest := max(c.Start, p.timeline.store.Oldest())
	switch {
	case loaded.Control.SystemID != c.SystemID:
		return refuse("the backup is of cluster %s, the timeline of %s", loaded.Control.SystemID, c.SystemID)
	case loaded.Control.SegmentSize != c.SegmentSize:
		return refuse("the backup's WAL segments have %s, the timeline's %s", loaded.Control.SegmentSize, c.SegmentSize)
	case b.Stop < b.Start:
		return refuse("the backup begins at %s, but nothing says where it ends", b.Start)
	case end.TLI != 0 && end.TLI != b.TLI:
		return refuse("the backup begins on PostgreSQL's timeline %d and ends on %d", b.TLI, end.TLI)
	case b.Start < oldest:
		b, err := refuse("the backup begins at %s, but WAL is here from %s on only", b.Start, oldest)
		return b, err.WithHint("Attach the walproposer first, then take the backup.")
	case !b.onHistory(c.History):
		return refuse("the backup was taken on PostgreSQL's timeline %d, which the quorum left before %s", b.TLI, b.Stop)
	}
	return b, nil
}

// abandon removes an import that did not get ready.
func (p *pages) abandon(cause error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reason = fmt.Sprintf("the last import failed: %v", cause)
	p.enter(phaseNone)
	store, err := p.storage.use()
	if err == nil {
		err = errors.Join(removeBase(p.dir), store.Delete(p.timeline.id.Timeline))
	}
	if err != nil {
		p.logger.Error("an import that failed is not removed before the next start", "err", err)
	}
}

// reachedBy says whether committed WAL on the backup's own timeline has passed its
// end: last is the end of the last record that was replayed.
func (b base) reachedBy(last wal.LSN, h wal.TimelineHistory) bool {
	_, known := h.Begin(b.TLI)
	return known && last >= b.Stop && last > b.Start
}
