package pagestore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/walhaven/walhaven/internal/invariant"
)

// disk is the file system with what every durable step needs: a fail point
// before it and its time measured after it.
type disk struct {
	vfs.FS
	m *Metrics
}

// writeCategory is for pebble's statistics of writes, which are not used.
const writeCategory = vfs.WriteCategoryUnspecified

func (d *disk) sync(f vfs.File, point string) error {
	if err := invariant.PointErr(point); err != nil {
		return err
	}
	start := time.Now()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("fsync: %w", err)
	}
	d.m.fsync.Observe(time.Since(start).Seconds())
	return nil
}

func (d *disk) syncFolder(dir string) error {
	f, err := d.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("open folder: %w", err)
	}
	err = d.sync(f, pointFolderSync)
	return errors.Join(err, f.Close())
}

// readFile reads a whole file of at most limit bytes.
func (d *disk) readFile(path string, limit int64) ([]byte, error) {
	f, err := d.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // Nothing was written.
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%d bytes is larger than %d: %w", info.Size(), limit, ErrTooLarge)
	}
	b := make([]byte, info.Size())
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, info.Size()), b); err != nil {
		return nil, err
	}
	return b, nil
}

// writeFile writes and fsyncs a file; its name is not durable yet.
func (d *disk) writeFile(path string, content []byte) (err error) {
	invariant.Point(pointIndexWrite)
	f, err := d.Create(path, writeCategory)
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(content); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return d.sync(f, pointIndexSync)
}

// remove removes a file that may be gone already.
func (d *disk) remove(path, point string) error {
	invariant.Point(point)
	if err := d.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
