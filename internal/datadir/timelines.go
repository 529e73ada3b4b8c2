package datadir

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/walhaven/walhaven/wal"
)

// TimelinePath is the folder of a timeline below the data directory.
func TimelinePath(root string, id wal.TTID) string {
	return filepath.Join(root, id.Tenant.String(), id.Timeline.String())
}

// ScanTimelines lists the folders <root>/<tenant>/<timeline>; other names are
// not timelines. The tenants' names are durable afterwards: a process that made
// one may have been killed before it had synced root.
func ScanTimelines(root string) ([]wal.TTID, error) {
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

// MakeTenant creates a tenant's folder and makes its name durable.
func MakeTenant(root string, id wal.TenantID) error {
	if err := os.MkdirAll(filepath.Join(root, id.String()), 0o700); err != nil {
		return fmt.Errorf("create tenant folder: %w", err)
	}
	return SyncDir(vfs.Default, root)
}
