package datadir

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"

	"github.com/walhaven/walhaven/wal"
)

// TimelinePath is the folder of a timeline below the data directory.
func TimelinePath(root string, id wal.TTID) string {
	return filepath.Join(root, id.Tenant.String(), id.Timeline.String())
}

// TimelinePaths lists where the folder of a timeline with this ID lies or would lie,
// one for each tenant below the data directory.
func TimelinePaths(root string, id wal.TimelineID) (paths []string, err error) {
	tenants, err := os.ReadDir(root)
	if err != nil {
		return nil, fmt.Errorf("list data directory: %w", err)
	}
	for _, e := range tenants {
		if tenant, err := wal.ParseTenantID(e.Name()); err == nil && e.IsDir() {
			paths = append(paths, TimelinePath(root, wal.TTID{Tenant: tenant, Timeline: id}))
		}
	}
	return paths, nil
}

// scanTimelines lists the folders <root>/<tenant>/<timeline>; other names are
// not timelines. The tenants' names are durable afterwards: a process that made
// one may have been killed before it had synced root.
func scanTimelines(root string) ([]wal.TTID, error) {
	if err := SyncDir(vfs.Default, root); err != nil {
		return nil, err
	}
	var out []wal.TTID
	tenants, err := os.ReadDir(root)
	if err != nil {
		return nil, fmt.Errorf("list data directory: %w", err)
	}
	for _, e := range tenants {
		tenant, err := wal.ParseTenantID(e.Name())
		if err != nil || !e.IsDir() {
			continue
		}
		timelines, err := os.ReadDir(filepath.Join(root, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("list tenant: %w", err)
		}
		for _, e := range timelines {
			if id, err := wal.ParseTimelineID(e.Name()); err == nil && e.IsDir() {
				out = append(out, wal.TTID{Tenant: tenant, Timeline: id})
			}
		}
	}
	return out, nil
}

// openAtOnce is how many timelines recover at a time.
const openAtOnce = 4

// EachTimeline calls open for each timeline below the data directory, a few at a
// time, and waits for them. When ctx ends it calls for no more and returns the cause.
func EachTimeline(ctx context.Context, root string, open func(wal.TTID)) error {
	ids, err := scanTimelines(root)
	if err != nil {
		return err
	}
	var g errgroup.Group
	g.SetLimit(openAtOnce)
	for _, id := range ids {
		g.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			open(id)
			return nil
		})
	}
	return g.Wait()
}

// MakeTenant creates a tenant's folder and makes its name durable.
func MakeTenant(root string, id wal.TenantID) error {
	if err := os.MkdirAll(filepath.Join(root, id.String()), 0o700); err != nil {
		return fmt.Errorf("create tenant folder: %w", err)
	}
	return SyncDir(vfs.Default, root)
}
