package pageserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/walhaven/walhaven/internal/datadir"
	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/pageread"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/wal"
)

// phase is what a timeline's pages are at.
type phase string

const (
	phaseNone      phase = "none"      // no base: WAL is kept, nothing is made of it
	phaseImporting phase = "importing" // a base is coming in
	phaseCatchUp   phase = "catching up"
	phaseActive    phase = "active"
)

// pages is what a timeline's WAL is turned into. A timeline has none until a base
// backup was imported; the import becomes visible when committed WAL of the same
// history has passed the backup's end, and is thrown away if the history leaves
// the backup's timeline before.
type pages struct {
	timeline *timeline
	storage  *pageStorage
	root     string // data directory
	dir      string // the timeline's
	logger   *slog.Logger

	mu       sync.Mutex // guards what follows
	phase    phase
	position *pageread.Position // of tl
	base     base
	tl       *pagestore.Timeline // phases catch-up and active
	reader   *pageread.Reader    // phase active
	failed   error               // why ingest does not get on; it tries again
	since    time.Time           // of failed
	reason   string              // why the last import was thrown away
	source   string              // where WAL comes from
	wake     chan struct{}       // closed and replaced when the phase changes
}

func newPages(t *timeline, storage *pageStorage, root string) *pages {
	return &pages{
		timeline: t, storage: storage, root: root, dir: datadir.TimelinePath(root, t.id),
		logger: t.logger, phase: phaseNone, position: pageread.NewPosition(0), wake: make(chan struct{}),
	}
}

// load finds the pages that are there when the program starts, and removes what an
// interrupted import has left.
func (p *pages) load() error {
	store, err := p.storage.use()
	if err != nil {
		return err
	}
	b, ok, err := readBase(p.dir)
	if err != nil {
		return err
	}
	tl, err := store.Timeline(p.timeline.id.Timeline)
	switch {
	case errors.Is(err, pagestore.ErrNoTimeline) && !ok:
		return nil
	case err != nil:
		return fmt.Errorf("pages of timeline %s: %w", p.timeline.id, err)
	case !ok:
		return p.removeRemains(store)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.begin(tl, b)
	return nil
}

// loadNew is load of a timeline that has just been founded: nothing of it is there.
func (p *pages) loadNew() error {
	_, err := p.storage.use()
	return err
}

// removeRemains removes what an interrupted import has left. The page store knows no
// tenants: what another one has under the same timeline ID is not ours.
func (p *pages) removeRemains(store *pagestore.Store) error {
	folders, err := datadir.TimelinePaths(p.root, p.timeline.id.Timeline)
	if err != nil {
		return err
	}
	for _, dir := range folders {
		if _, err := os.Stat(filepath.Join(dir, baseFile)); !errors.Is(err, fs.ErrNotExist) {
			return err // Nil: somebody's pages.
		}
	}
	p.logger.Info("removing what an interrupted import has left")
	err = store.Delete(p.timeline.id.Timeline)
	if errors.Is(err, pagestore.ErrNoTimeline) {
		return nil // Another tenant's timeline of that ID has removed it.
	}
	return err
}

// begin puts pages that begin from b to use. The caller holds mu.
func (p *pages) begin(tl *pagestore.Timeline, b base) {
	p.base, p.tl, p.failed, p.reason = b, tl, nil, ""
	p.position = pageread.NewPosition(tl.LastLSN())
	p.position.SetSource(p.source)
	p.enter(phaseCatchUp)
	if b.Visible {
		p.show()
	}
}

// show lets everybody read. The caller holds mu.
func (p *pages) show() {
	p.reader = pageread.New(pageread.Options{
		Timeline: p.tl, Position: p.position, Cache: p.storage.cache, Metrics: p.storage.reading,
		Floor: p.base.Stop, SegmentSize: p.timeline.store.Control().SegmentSize, WaitTimeout: p.storage.waitTimeout,
	})
	p.enter(phaseActive)
}

func (p *pages) enter(next phase) {
	p.phase = next
	close(p.wake)
	p.wake = make(chan struct{})
}

// use returns the reader of the pages, or why there is none.
func (p *pages) use() (*pageread.Reader, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reader != nil {
		return p.reader, nil
	}
	err := protocol.Errorf(protocol.CodeNotInState, "timeline %s has no pages: %s", p.timeline.id.Timeline, p.stateLocked())
	if p.phase == phaseNone {
		return nil, err.WithHint("Import a base backup: walhaven import.")
	}
	return nil, err
}

// stateLocked says in a few words what the pages are at.
func (p *pages) stateLocked() string {
	switch {
	case p.failed != nil && p.phase != phaseActive:
		return p.failed.Error()
	case p.phase == phaseNone && p.storage.failure() != nil:
		return p.storage.failure().Error()
	case p.phase == phaseNone && p.reason != "":
		return p.reason
	case p.phase == phaseNone:
		return "no base backup was imported"
	case p.phase == phaseImporting:
		return "a base backup is being imported"
	case p.phase == phaseCatchUp:
		return fmt.Sprintf("the backup that was imported is consistent at %s, and committed WAL was replayed up to %s",
			p.base.Stop, p.position.Last())
	}
	return ""
}

// applied is the end of the last record that was made pages of; ok is false
// without pages.
func (p *pages) applied() (lsn wal.LSN, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.position.Last(), p.tl != nil
}

// setSource says where WAL comes from, for those who wait for it.
func (p *pages) setSource(source string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.source = source
	p.position.SetSource(source)
}

// pagesView is the state of a timeline's pages at one moment.
type pagesView struct {
	Phase          phase
	Reason         string
	Applied        wal.LSN // 0 without pages
	Flushed, Floor wal.LSN
	Since          time.Time // when Applied was reached
	Info           pagestore.Info
	Failed         error
}

func (p *pages) view() pagesView {
	p.mu.Lock()
	defer p.mu.Unlock()
	v := pagesView{Phase: p.phase, Reason: p.stateLocked(), Failed: p.failed}
	if p.failed != nil {
		v.Reason = fmt.Sprintf("since %s: %v", p.since.UTC().Format(time.RFC3339), p.failed)
	}
	if p.tl != nil {
		v.Applied, v.Flushed, v.Since, v.Info = p.position.Last(), p.tl.FlushedLSN(), p.position.Since(), p.tl.Info()
		v.Floor = max(p.base.Stop, p.tl.CutoffLSN())
	}
	return v
}

// applyLag is how much durable WAL is not turned into pages yet, in bytes.
func (t *timeline) applyLag(v *pagesView) uint64 {
	if end := t.durable(); v.Applied != 0 && end > v.Applied {
		return uint64(end - v.Applied)
	}
	return 0
}

// settle decides about an import that is not visible yet.
func (p *pages) settle(ctx context.Context, tl *pagestore.Timeline) error {
	p.mu.Lock()
	b, current := p.base, p.phase
	p.mu.Unlock()
	if current == phaseActive {
		return nil
	}
	switch h := p.timeline.store.Control().History; {
	case !b.onHistory(h):
		return p.discard(fmt.Sprintf("the import was thrown away: PostgreSQL left timeline %d before %s, where the backup ends", b.TLI, b.Stop))
	case !b.reachedBy(tl.LastLSN(), h):
		return nil
	}
	invariant.Point(pointImportReached)
	if err := tl.Flush(ctx); err != nil {
		return err
	}
	if _, err := tl.Collect(b.Stop); err != nil {
		return err
	}
	b.Visible = true
	if err := writeBase(p.dir, b); err != nil {
		return err
	}
	invariant.Point(pointImportVisible)
	p.logger.Info("pages are served", "from_lsn", b.Stop)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.base = b
	p.show()
	return nil
}

// discard throws an import away that never became visible.
func (p *pages) discard(reason string) error {
	p.logger.Warn("import thrown away", "reason", reason)
	store, err := p.storage.use()
	if err != nil {
		return err
	}
	if err := removeBase(p.dir); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tl, p.base, p.reason = nil, base{}, reason
	p.enter(phaseNone)
	if err := store.Delete(p.timeline.id.Timeline); err != nil {
		return err
	}
	return errThrownAway
}
