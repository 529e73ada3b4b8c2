package walproposer

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
)

// resolve finds the timeline's ID from its name.
func (p *peers) resolve(ctx context.Context) (wal.TimelineID, error) {
	if id, err := wal.ParseTimelineID(p.timeline); err == nil {
		return id, nil
	}
	answered := 0
	var failures []error
	var asked sync.WaitGroup
	defer asked.Wait()
	asking, cancel := context.WithCancel(ctx)
	defer cancel() // Whoever hangs is not needed.
	type answer struct {
		all []listed
		err error
	}
	answers := make(chan answer, len(p.all()))
	for peer := range p.all() {
		asked.Go(func() {
			all, err := p.list(asking, peer)
			answers <- answer{all, err}
		})
	}
	for range p.all() {
		a := <-answers
		if a.err != nil {
			failures = append(failures, a.err)
			continue
		}
		answered++
		for _, t := range a.all {
			if t.name == p.timeline {
				return t.id.Timeline, nil
			}
		}
	}
	if answered <= len(p.all())/2 {
		return wal.TimelineID{}, errors.Join(append([]error{errNoQuorum}, failures...)...)
	}
	return wal.TimelineID{}, refuse("timeline %q of tenant %s was not founded on these safekeepers", p.timeline, p.tenant).
		hint("Found it with walhaven up or walhaven attach, or correct --tenant-id and --timeline.")
}

// listed is a timeline as SHOW TIMELINES names it.
type listed struct {
	id   wal.TTID
	name string
}

// list asks a safekeeper for the tenant's timelines.
func (p *peers) list(ctx context.Context, peer int) (out []listed, err error) {
	o := p.dialOptions(lookTimeout)
	delete(o.Params, "options") // the name may be unknown there
	rows, err := replication.Query(ctx, p.all()[peer], "SHOW TIMELINES", o)
	if err != nil {
		return nil, fmt.Errorf("safekeeper %s: %w", p.address(peer), err)
	}
	for _, row := range rows {
		var t listed
		if t.id.Tenant, err = wal.ParseTenantID(row["tenant_id"]); err != nil {
			return nil, err
		}
		if t.id.Timeline, err = wal.ParseTimelineID(row["timeline_id"]); err != nil {
			return nil, err
		}
		if t.name = row["name"]; t.id.Tenant == p.tenant {
			out = append(out, t)
		}
	}
	return out, nil
}

// nameOf asks the members for a timeline's name.
func (p *peers) nameOf(ctx context.Context, id wal.TTID) (string, error) {
	var failures []error
	for peer := range p.all() {
		all, err := p.list(ctx, peer)
		failures = append(failures, err)
		for _, t := range all {
			if t.id == id {
				return t.name, nil
			}
		}
	}
	return "", errors.Join(append(failures, fmt.Errorf("timeline %s has no name anywhere", id))...)
}
