package pageserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walstore"
)

// timeline is the local copy of one timeline's WAL and the pushers that feed
// it.
type timeline struct {
	id      wal.TTID
	store   *walstore.Store
	metrics *metrics
	logger  *slog.Logger
	pages   *pages

	// frames serialises what changes the WAL; it is held during I/O and taken
	// before mu, which never is: a disk that hangs must not hide the metrics.
	frames  sync.Mutex
	scratch []byte // of frames

	mu       sync.Mutex // guards what follows
	pushers  *chooser[*pushSession]
	halted   error         // set once our WAL and a pusher's differed
	commit   wal.LSN       // highest commit position that a pusher announced
	behind   time.Time     // since when commit is above what is durable here
	advanced chan struct{} // closed and replaced when more is durable, or the history grew
}

func newTimeline(store *walstore.Store, storage *pageStorage, root string, m *metrics, logger *slog.Logger) *timeline {
	id := store.Control().ID
	t := &timeline{
		id: id, store: store, metrics: m,
		logger:  logger.With("tenant_id", id.Tenant, "timeline_id", id.Timeline),
		pushers: newChooser[*pushSession](), advanced: make(chan struct{}),
		scratch: make([]byte, pushwal.MaxAppend),
	}
	t.pages = newPages(t, storage, root)
	return t
}

// durable is the end of what survives a crash: whole records only, for recovery
// cuts at a record end.
func (t *timeline) durable() wal.LSN {
	p := t.store.Positions()
	if end := min(p.FlushRecord, p.Flush); end >= t.store.Control().Start {
		return end
	}
	return 0
}

// take stores a pushed frame; see takeFrame.
func (t *timeline) take(s *pushSession, m *pushwal.AppendRequest, now time.Time) (appended int, err error) {
	t.frames.Lock()
	defer t.frames.Unlock()
	if err := t.haltedErr(); err != nil {
		return 0, err
	}
	if err := checkFrame(m, t.store.Control().History); err != nil {
		return 0, err
	}
	if len(m.WAL) > 0 {
		appended, err = takeFrame(t.store, m, t.scratch)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if errors.Is(err, errMismatch) {
		t.halted = err
		t.metrics.mismatches.Inc()
		t.logger.Error("pushed WAL differs from the WAL stored here; this timeline takes no more",
			"pusher", s.name(), "err", err)
	}
	if err != nil {
		return 0, err
	}
	t.announce(m.CommitLSN, now)
	t.metrics.received.Add(float64(appended))
	if t.pushers.heard(s, m.CommitLSN, appended > 0, t.store.Positions().Write, now) {
		t.logger.Info("another pusher is the active one now", "pusher", s.name())
	}
	return appended, nil
}

// announce notes a pusher's commit position, and since when we are behind it.
// The caller holds mu.
func (t *timeline) announce(commit wal.LSN, now time.Time) {
	t.commit = max(t.commit, commit)
	switch {
	case t.durable() >= t.commit:
		t.behind = time.Time{}
	case t.behind.IsZero():
		t.behind = now
	}
}

// sync makes what was taken durable and wakes those who wait for it.
func (t *timeline) sync() error {
	invariant.Point("pageserver/sync/before")
	if err := t.store.Sync(); err != nil {
		return appendError(fmt.Errorf("make pushed WAL durable: %w", err))
	}
	invariant.Point("pageserver/sync/after")
	t.mu.Lock()
	defer t.mu.Unlock()
	t.announce(0, time.Now())
	t.wake()
	return nil
}

// wake tells those who wait that something has changed. The caller holds mu.
func (t *timeline) wake() {
	close(t.advanced)
	t.advanced = make(chan struct{})
}

// changed returns a channel that is closed at the next change of what is durable
// or of the history.
func (t *timeline) changed() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.advanced
}

// waitDurable returns the end of durable WAL once it is above after.
func (t *timeline) waitDurable(ctx context.Context, after wal.LSN) (wal.LSN, error) {
	for {
		advanced := t.changed()
		if end := t.durable(); end > after {
			return end, nil
		}
		select {
		case <-advanced:
		case <-ctx.Done():
			return t.durable(), context.Cause(ctx)
		}
	}
}

// lag says how far durable WAL is behind what pushers announced.
func (t *timeline) lag(now time.Time) (bytes uint64, since time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	end := max(t.durable(), t.store.Control().Start)
	if t.commit <= end {
		return 0, 0
	}
	if !t.behind.IsZero() {
		since = now.Sub(t.behind)
	}
	return uint64(t.commit - end), since
}

// haltedErr is why the timeline takes no more WAL, or nil.
func (t *timeline) haltedErr() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.halted
}

// admit checks a pusher's greeting against the timeline and takes over a longer
// history.
func (t *timeline) admit(g *pushwal.ProposerGreeting) error {
	c := t.store.Control()
	refuse := func(what string, theirs, ours any) error {
		return protocol.Errorf(protocol.CodeNotInState, "pusher's %s %v is not that of the timeline, %v", what, theirs, ours)
	}
	switch {
	case g.SystemID != c.SystemID:
		return refuse("system identifier", g.SystemID, c.SystemID)
	case g.PGVersion/10000 != c.PGVersion/10000:
		return refuse("PostgreSQL version", g.PGVersion, c.PGVersion)
	case g.SegmentSize != c.SegmentSize:
		return refuse("WAL segment size", g.SegmentSize, c.SegmentSize)
	case g.Start != c.Start:
		return refuse("start position", g.Start, c.Start)
	}
	t.frames.Lock()
	defer t.frames.Unlock()
	return t.adoptHistory(g.TLIHistory)
}

// adoptHistory takes over a history that continues ours. Both describe
// committed WAL, so one must be the beginning of the other.
func (t *timeline) adoptHistory(h wal.TimelineHistory) error {
	own := t.store.Control().History
	if shorter, ok := own.Upto(h.Last); ok && shorter.Equal(h) {
		return nil
	}
	prefix, ok := h.Upto(own.Last)
	end := t.store.Positions()
	if sw, _, _ := h.SwitchPoint(own.Last); !ok || !prefix.Equal(own) || sw < end.Write {
		t.metrics.mismatches.Inc()
		return protocol.Errorf(protocol.CodeDataCorrupted,
			"pusher's history of timeline %d does not continue timeline %d, whose WAL reaches %s here", h.Last, own.Last, end.Write)
	}
	cut := end.WriteRecord
	if c := t.store.Control(); cut < c.Start {
		cut = c.SegmentSize.SegmentStart(c.Start)
	}
	if err := t.store.Truncate(min(cut, end.Write), h); err != nil {
		return fmt.Errorf("follow timeline %d: %w", h.Last, err)
	}
	invariant.Point("pageserver/history/before")
	if err := t.store.SaveControl(func(c *walstore.Control) { c.History = h }); err != nil {
		return fmt.Errorf("save history of timeline %d: %w", h.Last, err)
	}
	t.logger.Info("following a new PostgreSQL timeline", "tli", h.Last)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wake()
	return nil
}

// close ends the timeline; no session may use it any more.
func (t *timeline) close() error { return t.store.Close() }

// receiverView is a connected pusher at one moment.
type receiverView struct {
	session *pushSession
	active  bool
	commit  wal.LSN
}

// receivers returns the connected pushers, oldest first.
func (t *timeline) receivers() []receiverView {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []receiverView
	for s, p := range t.pushers.pushers {
		out = append(out, receiverView{session: s, active: t.pushers.isActive(s), commit: p.announced})
	}
	slices.SortFunc(out, func(a, b receiverView) int { return a.session.started.Compare(b.session.started) })
	return out
}
