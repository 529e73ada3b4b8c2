package pageserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/walhaven/walhaven/internal/datadir"
	"github.com/walhaven/walhaven/internal/walcmd"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walstore"
)

// timelines knows what is below the data directory.
type timelines struct {
	root    string
	options walstore.Options
	metrics *metrics
	logger  *slog.Logger
	storage *pageStorage

	// run is the life of goroutines that turn WAL into pages.
	run     context.Context // set once, by load
	running sync.WaitGroup

	founding sync.Mutex // one timeline is founded at a time
	mu       sync.RWMutex
	live     map[wal.TTID]*timeline
	broken   map[wal.TTID]error
}

func newTimelines(root string, o walstore.Options, storage *pageStorage, m *metrics, logger *slog.Logger) *timelines {
	return &timelines{
		root: root, options: o, storage: storage, metrics: m, logger: logger,
		live: map[wal.TTID]*timeline{}, broken: map[wal.TTID]error{},
	}
}

// load opens every timeline. One that does not open is kept apart and does not
// hinder the others. run ends what turns WAL into pages; close waits for it.
func (r *timelines) load(ctx, run context.Context) error {
	r.run = run
	r.storage.open()
	return datadir.EachTimeline(ctx, r.root, r.loadOne)
}

func (r *timelines) loadOne(id wal.TTID) {
	store, err := walstore.Open(datadir.TimelinePath(r.root, id), r.options)
	if err == nil && store.Control().ID != id {
		err = errors.Join(fmt.Errorf("control file is that of timeline %s", store.Control().ID), store.Close())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.broken[id] = err
		r.logger.Error("timeline is not served", "tenant_id", id.Tenant, "timeline_id", id.Timeline, "err", err)
		return
	}
	r.live[id] = r.begin(store, (*pages).load)
}

// begin makes a timeline of a store and starts to turn its WAL into pages, which
// load finds.
func (r *timelines) begin(store *walstore.Store, load func(*pages) error) *timeline {
	t := newTimeline(store, r.storage, r.root, r.metrics, r.logger)
	if err := load(t.pages); err != nil {
		t.pages.fail(err)
		return t
	}
	r.running.Go(func() { t.pages.run(r.run) })
	return t
}

// list returns the timelines that are served, by ID.
func (r *timelines) list() []*timeline {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.SortedFunc(maps.Values(r.live), func(a, b *timeline) int {
		return cmp.Compare(a.id.String(), b.id.String())
	})
}

// failures returns the timelines that did not load, and why.
func (r *timelines) failures() map[wal.TTID]error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return maps.Clone(r.broken)
}

// find returns the one timeline that target means.
func (r *timelines) find(target walcmd.Target) (*timeline, bool, error) {
	live := r.list()
	candidates := make([]walcmd.Candidate, len(live))
	for i, t := range live {
		candidates[i] = walcmd.Candidate{ID: t.id, Name: t.store.Control().Name}
	}
	i, found, err := target.Choose(candidates)
	if err != nil || !found {
		return nil, false, err
	}
	return live[i], true, nil
}

// findOrFound returns the timeline that a pusher greets. The first push founds
// it: what is pushed here is committed, so that nothing is decided by it.
func (r *timelines) findOrFound(session *protocol.Session, g *pushwal.ProposerGreeting) (*timeline, error) {
	if allowed := session.Identity.Tenant; allowed != nil && *allowed != g.TTID.Tenant {
		return nil, protocol.Errorf(protocol.CodeInsufficientRight, "role %q may use tenant %s only", session.Identity.User, *allowed)
	}
	r.founding.Lock()
	defer r.founding.Unlock()
	r.mu.RLock()
	t, broken := r.live[g.TTID], r.broken[g.TTID]
	r.mu.RUnlock()
	switch {
	case broken != nil:
		return nil, protocol.Errorf(protocol.CodeDataCorrupted, "timeline %s exists but does not load: %w", g.TTID, broken)
	case t != nil:
		return t, nil
	}
	if err := checkGreeting(g); err != nil {
		return nil, err
	}
	if err := datadir.MakeTenant(r.root, g.TTID.Tenant); err != nil {
		return nil, err
	}
	store, err := walstore.Create(datadir.TimelinePath(r.root, g.TTID), walstore.Control{
		ID: g.TTID, Name: g.Name, SystemID: g.SystemID, PGVersion: g.PGVersion,
		SegmentSize: g.SegmentSize, Start: g.Start, History: g.TLIHistory,
	}, r.options)
	if err != nil {
		return nil, fmt.Errorf("found timeline %s: %w", g.TTID, err)
	}
	t = r.begin(store, (*pages).loadNew)
	r.mu.Lock()
	r.live[g.TTID] = t
	r.mu.Unlock()
	t.logger.Info("timeline founded", "name", g.Name, "start_lsn", g.Start, "pusher", g.NodeID)
	return t, nil
}

// checkGreeting says whether a greeting tells all that a timeline is founded
// from.
func checkGreeting(g *pushwal.ProposerGreeting) error {
	missing := func(what string) error {
		return protocol.Errorf(protocol.CodeProtocolViolation, "the pusher's greeting has no valid %s", what)
	}
	major := g.PGVersion / 10000
	switch {
	case g.TTID.Tenant.IsZero() || g.TTID.Timeline.IsZero():
		return missing("timeline")
	case g.SystemID == 0:
		return missing("system identifier")
	case major < 14 || major > 18:
		return missing("PostgreSQL version")
	case !g.SegmentSize.Valid():
		return missing("WAL segment size")
	case g.Start == 0 || g.Start%8 != 0:
		return missing("start position")
	case !g.TLIHistory.Valid():
		return missing("timeline history")
	}
	return nil
}

// close closes all timelines; their sessions must have ended, and so must the
// context run.
func (r *timelines) close() error {
	r.running.Wait()
	errs := []error{r.storage.close()}
	for _, t := range r.list() {
		if err := t.close(); err != nil {
			errs = append(errs, fmt.Errorf("close timeline %s: %w", t.id, err))
		}
	}
	return errors.Join(errs...)
}
