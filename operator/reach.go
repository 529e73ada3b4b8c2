package operator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
)

// Reach returns the cluster whose safekeepers are at addresses (host:port), for
// what needs nothing but them. Users and passwords come from where libpq looks
// (PGUSER, PGPASSFILE and their kin). Timeline is a name or an ID, and may be
// empty when they keep only one. While none of them answers it tries again until
// ctx ends, with an ErrNoQuorum then.
func Reach(ctx context.Context, addresses []string, timeline string) (*Cluster, error) {
	c := &Cluster{}
	for _, address := range addresses {
		c.Safekeepers = append(c.Safekeepers, Node{PG: address})
	}
	var last error
	err := poll(ctx, time.Second, func() (bool, error) {
		var found []keptTimeline
		if found, last = c.keptTimelines(ctx); last != nil {
			return false, nil
		}
		return true, c.choose(found, timeline)
	})
	if ctx.Err() != nil {
		return nil, errors.Join(ErrNoQuorum, last, err)
	}
	return c, err
}

// keptTimeline is a timeline that a safekeeper keeps.
type keptTimeline struct{ tenant, id, name string }

func (t keptTimeline) String() string { return t.name + " (" + t.id + " of tenant " + t.tenant + ")" }

// keptTimelines asks all safekeepers what they keep, and who they are. It fails
// when none answers.
func (c *Cluster) keptTimelines(ctx context.Context) ([]keptTimeline, error) {
	rows, failures := make([][]replication.Row, len(c.Safekeepers)), make([]error, len(c.Safekeepers))
	var wg sync.WaitGroup
	for i := range c.Safekeepers {
		wg.Go(func() {
			n := &c.Safekeepers[i]
			node, err := c.query(ctx, n.PG, "SHOW NODE", nil)
			if err == nil && len(node) == 1 {
				n.ID, err = strconv.Atoi(node[0]["node_id"])
			}
			if err == nil {
				rows[i], err = c.query(ctx, n.PG, "SHOW TIMELINES", nil)
			}
			if err != nil {
				failures[i] = fmt.Errorf("safekeeper at %s: %w", n.PG, err)
			}
		})
	}
	wg.Wait()
	if !slices.Contains(failures, nil) {
		return nil, errors.Join(failures...)
	}
	found := map[keptTimeline]bool{}
	for _, r := range slices.Concat(rows...) {
		found[keptTimeline{r["tenant_id"], r["timeline_id"], r["name"]}] = true
	}
	return slices.SortedFunc(maps.Keys(found), func(a, b keptTimeline) int { return strings.Compare(a.String(), b.String()) }), nil
}

// choose makes c the cluster of the timeline that is asked for.
func (c *Cluster) choose(found []keptTimeline, timeline string) (err error) {
	matches := slices.DeleteFunc(slices.Clone(found), func(t keptTimeline) bool {
		return timeline != "" && t.name != timeline && t.id != timeline
	})
	switch {
	case len(matches) == 1:
		t := matches[0]
		c.Name = t.name
		if c.Tenant, err = wal.ParseTenantID(t.tenant); err == nil {
			c.Timeline, err = wal.ParseTimelineID(t.id)
		}
		return err
	case len(found) == 0:
		return errors.New("these safekeepers keep no timeline")
	case len(matches) == 0:
		return fmt.Errorf("these safekeepers keep no timeline %q, but: %s", timeline, list(found))
	}
	return fmt.Errorf("these safekeepers keep several timelines, choose one with --timeline: %s", list(matches))
}

func list(timelines []keptTimeline) string {
	var names []string
	for _, t := range timelines {
		names = append(names, t.String())
	}
	return strings.Join(names, ", ")
}
