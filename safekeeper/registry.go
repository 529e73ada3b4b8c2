package safekeeper

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"sync"

	"github.com/walhaven/walhaven/internal/datadir"
	"github.com/walhaven/walhaven/internal/walcmd"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walstore"
)

// registry knows the timelines of one data directory: those that it serves and
// those that did not load, which it reports.
type registry struct {
	root string
	deps deps
	// began is called, under founding, for each timeline that comes to be
	// served, so that its background work starts.
	began func(*timeline)

	founding sync.Mutex // one timeline is founded at a time
	mu       sync.RWMutex
	live     map[wal.TTID]*timeline
	broken   map[wal.TTID]error
}

func newRegistry(root string, d deps, began func(*timeline)) *registry {
	return &registry{root: root, deps: d, began: began, live: map[wal.TTID]*timeline{}, broken: map[wal.TTID]error{}}
}

// load opens every timeline below the data directory. One that does not open is
// kept apart and does not hinder the others.
func (r *registry) load(ctx context.Context) error {
	return datadir.EachTimeline(ctx, r.root, r.loadOne)
}

func (r *registry) loadOne(id wal.TTID) {
	t, err := openTimeline(r.dir(id), r.deps)
	if err == nil && t.id != id {
		err = errors.Join(fmt.Errorf("control file is that of timeline %s", t.id), t.close(errForeignDirectory))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.broken[id] = err
		r.deps.logger.Error("timeline is not served", "tenant_id", id.Tenant, "timeline_id", id.Timeline, "err", err)
		return
	}
	r.live[id] = t
	r.began(t)
}

func (r *registry) dir(id wal.TTID) string {
	return datadir.TimelinePath(r.root, id)
}

// list returns the timelines that are served, by ID.
func (r *registry) list() []*timeline {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := make([]*timeline, 0, len(r.live))
	for _, t := range r.live {
		out = append(out, t)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].id.String() < out[j].id.String() })
	return out
}

// failures returns the timelines that did not load, and why.
func (r *registry) failures() map[wal.TTID]error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := make(map[wal.TTID]error, len(r.broken))
	for id, err := range r.broken {
		out[id] = err
	}
	return out
}

// find returns the one timeline that target means.
func (r *registry) find(target walcmd.Target) (*timeline, bool, error) {
	live := r.list()
	candidates := make([]walcmd.Candidate, len(live))
	for i, t := range live {
		candidates[i] = walcmd.Candidate{ID: t.id, Name: t.name()}
	}
	i, found, err := target.Choose(candidates)
	if err != nil || !found {
		return nil, false, err
	}
	return live[i], true, nil
}

// found founds a timeline, or does nothing when it is there just so. created
// says which.
func (r *registry) found(f founding) (created bool, err error) {
	own := pushwal.Incarnation(r.deps.identity.Incarnation)
	if err := f.checkMember(pushwal.NodeID(r.deps.identity.ID), own); err != nil {
		return false, err
	}
	r.founding.Lock()
	defer r.founding.Unlock()
	if known, err := r.existing(f); known || err != nil {
		return false, err
	}
	voted, err := r.embryoState(f.id)
	if err != nil {
		return false, err
	}
	var term wal.Term
	if voted != nil {
		term = voted.Term // a vote holds, however the timeline comes to be
	}
	control, err := f.control(own, term)
	if err != nil {
		return false, err
	}
	return true, r.add(control)
}

// add makes a timeline on disk and serves it. The caller holds founding.
func (r *registry) add(c walstore.Control) error {
	if err := datadir.MakeTenant(r.root, c.ID.Tenant); err != nil {
		return err
	}
	t, err := foundTimeline(r.dir(c.ID), c, r.deps)
	if err != nil {
		return err
	}
	r.removeEmbryo(c.ID)
	r.mu.Lock()
	r.live[c.ID] = t
	r.mu.Unlock()
	r.began(t)
	st := t.accepting.Status()
	t.logger.Info("timeline founded", "name", c.Name, "start_lsn", c.Start,
		"members", formatMembers(st.Configuration.Members), "joining", st.Joining)
	return nil
}

// lookup returns the served timeline, or nil.
func (r *registry) lookup(id wal.TTID) *timeline {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.live[id]
}

// existing says whether f is here already, and refuses another one under its
// ID or its name.
func (r *registry) existing(f founding) (bool, error) {
	if err := r.failures()[f.id]; err != nil {
		return false, protocol.Errorf(protocol.CodeDuplicateObject, "timeline %s exists but does not load: %w", f.id, err)
	}
	for _, t := range r.list() {
		if t.id != f.id {
			if t.id.Tenant == f.id.Tenant && t.name() == f.name {
				return false, protocol.Errorf(protocol.CodeDuplicateObject, "timeline name %q is taken by %s", f.name, t.id.Timeline)
			}
			continue
		}
		var s consensus.State
		c := t.store.Control()
		if err := s.UnmarshalBinary(c.State); err != nil {
			return false, fmt.Errorf("read state of timeline %s: %w", f.id, err)
		}
		if !f.matches(c, s) {
			if ids := f.replaced(s); len(ids) > 0 && s.Configuration.Generation == f.config.Generation {
				return false, protocol.Errorf(protocol.CodeDuplicateObject,
					"timeline %s already exists, with other data directories of nodes %v than are named here", f.id, ids).
					WithDetail("It has members %s of incarnations %s.", formatMembers(s.Configuration.Members),
						replication.FormatIncarnations(s.Configuration.Members)).
					WithHint("A member with a new data directory must not be founded again: start it, and the walproposer has it join.")
			}
			return false, protocol.Errorf(protocol.CodeDuplicateObject, "timeline %s already exists, and was founded differently", f.id).
				WithDetail("It has name %q, system_id %s, pg_version %d, wal_segment_size %d, start_lsn %s, members %s.",
					c.Name, c.SystemID, c.PGVersion, c.SegmentSize, c.Start, formatMembers(s.Configuration.Members))
		}
		return true, nil
	}
	return false, nil
}

// close closes all timelines; their sessions and background work must have
// ended.
func (r *registry) close(cause error) error {
	var errs []error
	for _, t := range r.list() {
		if err := t.close(cause); err != nil {
			errs = append(errs, fmt.Errorf("close timeline %s: %w", t.id, err))
		}
	}
	return errors.Join(errs...)
}
