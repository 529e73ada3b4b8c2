package walstore

import (
	"fmt"

	"github.com/walhaven/walhaven/internal/invariant"
)

// createSuffix marks a folder that is being made; who lists a data directory
// must skip such names, and may remove them.
const createSuffix = ".tmp"

// Create makes the timeline's folder dir with a control file and an empty WAL,
// durably and all at once: it is built under the name dir + ".tmp" and renamed.
// It returns ErrExists if dir holds a timeline. Control.Watermark is ignored.
func Create(dir string, c Control, o Options) (*Store, error) {
	o = o.withDefaults()
	c = c.clone()
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("create timeline: %w", err)
	}
	c.Watermark = c.SegmentSize.SegmentStart(c.Start)
	d := disk{fs: o.FS, dir: dir, m: o.Metrics, noSync: o.NoSync}
	if there, err := d.exists(ControlFileName); err != nil {
		return nil, fmt.Errorf("create timeline: %w", err)
	} else if there {
		return nil, fmt.Errorf("create timeline in %s: %w", dir, ErrExists)
	}
	if err := d.build(c); err != nil {
		if IsDiskFull(err) {
			err = fmt.Errorf("%w: %w", ErrDiskFull, err)
		}
		return nil, fmt.Errorf("create timeline: %w", err)
	}
	return Open(dir, o)
}

// build makes the folder under its temporary name and renames it. The new name
// is durable once Open has returned.
func (d *disk) build(c Control) error {
	parent := d.fs.PathDir(d.dir)
	tmp := *d
	tmp.dir = d.dir + createSuffix
	if err := d.makeParents(parent); err != nil {
		return err
	}
	if err := d.fs.RemoveAll(tmp.dir); err != nil {
		return fmt.Errorf("remove unfinished folder: %w", err)
	}
	if err := d.fs.MkdirAll(tmp.dir, 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	if err := tmp.writeHistories(c.History, true); err != nil {
		return err
	}
	if _, err := tmp.writeControl(c, true); err != nil {
		return err
	}
	if err := invariant.PointErr(pointCreateRename); err != nil {
		return err
	}
	if err := d.fs.Rename(tmp.dir, d.dir); err != nil {
		return fmt.Errorf("rename folder: %w", err)
	}
	return nil
}

// makeParents makes the folders above the timeline's and syncs the folder that
// got a new name.
func (d *disk) makeParents(parent string) error {
	if _, err := d.fs.Stat(parent); err == nil || !isNotExist(err) {
		return err
	}
	above := d.fs.PathDir(parent)
	if above != parent {
		if err := d.makeParents(above); err != nil {
			return err
		}
	}
	if err := d.fs.MkdirAll(parent, 0o700); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	return d.syncFolderAt(above)
}
