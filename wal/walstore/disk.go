package walstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/wal"
)

// writeCategory labels our writes for file systems that account for them.
const writeCategory = vfs.WriteCategoryUnspecified

// chunkSize is the unit of copying, zeroing and scanning.
const chunkSize = 256 << 10

// zeroes is only ever read: WriteAt, unlike Write, leaves its argument alone.
var zeroes [chunkSize]byte

// disk does the I/O of one folder: each call passes its fail point, is measured
// and names what it did in its error.
type disk struct {
	fs     vfs.FS
	dir    string
	m      *Metrics
	noSync bool
}

func (d *disk) path(name string) string { return d.fs.PathJoin(d.dir, name) }

// create makes a new empty file, removing one of that name.
func (d *disk) create(name string) (vfs.File, error) {
	if err := d.fs.Remove(d.path(name)); err != nil && !isNotExist(err) {
		return nil, fmt.Errorf("remove old %s: %w", name, err)
	}
	f, err := d.fs.OpenReadWrite(d.path(name), writeCategory)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", name, err)
	}
	return f, nil
}

func (d *disk) writeAt(f vfs.File, p []byte, off int64, point string) error {
	if err := invariant.PointErr(point); err != nil {
		return err
	}
	n, err := f.WriteAt(p, off)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return err
}

// zero fills [from, to) of f with zeroes. stop, if not nil, ends it early.
func (d *disk) zero(f vfs.File, from, to int64, stop func() bool) error {
	for from < to {
		if stop != nil && stop() {
			return ErrClosed
		}
		n := min(to-from, chunkSize)
		if err := d.writeAt(f, zeroes[:n], from, pointSegmentZero); err != nil {
			return fmt.Errorf("zero: %w", err)
		}
		from += n
	}
	return nil
}

// syncData is fdatasync: content and size.
func (d *disk) syncData(f vfs.File, point string) error { return d.sync(f, point, true) }

// syncAll is fsync.
func (d *disk) syncAll(f vfs.File, point string) error { return d.sync(f, point, false) }

func (d *disk) sync(f vfs.File, point string, dataOnly bool) (err error) {
	if err := invariant.PointErr(point); err != nil {
		return err
	}
	if d.noSync {
		return nil
	}
	start := time.Now()
	if dataOnly {
		err = f.SyncData()
	} else {
		err = f.Sync()
	}
	d.m.fsync.Observe(time.Since(start).Seconds())
	return err
}

func (d *disk) rename(from, to, point string) error {
	if err := invariant.PointErr(point); err != nil {
		return err
	}
	if err := d.fs.Rename(d.path(from), d.path(to)); err != nil {
		return fmt.Errorf("rename %s to %s: %w", from, to, err)
	}
	return nil
}

// remove deletes a file; a missing one is no error.
func (d *disk) remove(name, point string) error {
	if err := invariant.PointErr(point); err != nil {
		return err
	}
	if err := d.fs.Remove(d.path(name)); err != nil && !isNotExist(err) {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}

// syncFolder makes the folder's names durable.
func (d *disk) syncFolder() error { return d.syncFolderAt(d.dir) }

func (d *disk) syncFolderAt(dir string) error {
	f, err := d.fs.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("open folder: %w", err)
	}
	err = d.syncAll(f, pointFolderSync)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}

// writeFile durably replaces the file name with content, except for the
// folder's fsync, which the caller owes. On error the old file is in place.
func (d *disk) writeFile(name string, content []byte, write, sync, rename string) error {
	tmp := name + tmpSuffix
	f, err := d.create(tmp)
	if err != nil {
		return err
	}
	if err = d.writeAt(f, content, 0, write); err == nil {
		err = d.syncAll(f, sync)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = d.fs.Remove(d.path(tmp)) // It holds nothing; the next attempt would replace it.
		return fmt.Errorf("write %s: %w", name, err)
	}
	return d.rename(tmp, name, rename)
}

// readFile reads a whole file of at most limit bytes.
func (d *disk) readFile(name string, limit int64) ([]byte, error) {
	f, err := d.fs.Open(d.path(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s has %d bytes, more than the %d that it may have", name, info.Size(), limit)
	}
	content := make([]byte, info.Size())
	_, err = io.ReadFull(f, content)
	return content, err
}

func (d *disk) exists(name string) (bool, error) {
	_, err := d.fs.Stat(d.path(name))
	if isNotExist(err) {
		return false, nil
	}
	return err == nil, err
}

func isNotExist(err error) bool { return err != nil && errors.Is(err, fs.ErrNotExist) }

// readSegmentAt fills p from f at the position's place in its segment.
func readSegmentAt(f io.ReaderAt, size wal.SegmentSize, p []byte, at wal.LSN) error {
	n, err := f.ReadAt(p, int64(size.Offset(at)))
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}
