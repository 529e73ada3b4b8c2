package sim

import (
	"bytes"
	"errors"
	"io/fs"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/walhaven/walhaven/wal/walstore"
)

// create makes the timeline's folder, as often as not in a second attempt after a crash
// between any two operations of the first.
func (l *storeLog) create(c walstore.Control) (err error) {
	if r := l.wd.rng; r.IntN(2) == 0 {
		there, err := l.createAndCrash(c, r.IntN(30))
		if there || err != nil {
			return err
		}
	}
	l.store, err = walstore.Create(storeDir, c, l.options(l.fs))
	return err
}

var errCrashed = errors.New("crashed")

// createAndCrash is C14: after a crash the timeline is there as it was founded, or not at
// all. It says which.
func (l *storeLog) createAndCrash(c walstore.Control, operations int) (there bool, err error) {
	o := l.options(l.fs)
	o.FS = errorfs.Wrap(o.FS, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsRead {
			return nil
		}
		if operations--; operations < 0 {
			return errCrashed
		}
		return nil
	}))
	store, created := walstore.Create(storeDir, c, o)
	l.wd.stats.count("store: crash while a timeline was made", boolInt(created != nil))
	percent := []int{0, 50, 100}[l.wd.rng.IntN(3)]
	l.fs = l.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: l.wd.rng})
	if created == nil {
		// Errors of closing a store that is thrown away say nothing.
		_ = store.Close()
	}
	if _, err := l.fs.Stat(storeDir); errors.Is(err, fs.ErrNotExist) {
		if l.wd.broken(c14, created == nil) {
			return false, violation("C14: a timeline that was founded is gone after a crash")
		}
		return false, nil
	}
	l.store, err = walstore.Open(storeDir, l.options(l.fs))
	if l.wd.broken(c14, err != nil) {
		return false, violation("C14: the folder of a timeline is there after a crash, and does not open: %v", err)
	}
	if got := l.store.Control(); !bytes.Equal(got.State, c.State) || got.ID != c.ID {
		return false, violation("C14: a timeline is there after a crash, and not the one that was founded")
	}
	return true, l.checkFolder(l.fs)
}

// checkFolder is C8.
func (l *storeLog) checkFolder(disk vfs.FS) error {
	names, err := disk.List(storeDir)
	if err != nil {
		return violation("list the timeline's folder: %v", err)
	}
	for _, name := range names {
		if _, _, err := segment.ParseFileName(strings.TrimSuffix(name, ".partial")); err != nil {
			continue
		}
		info, err := disk.Stat(disk.PathJoin(storeDir, name))
		if err != nil {
			return violation("look at a segment: %v", err)
		}
		if l.wd.broken(c8, info.Size() != int64(segment)) {
			return violation("C8: the segment %s has %d bytes", name, info.Size())
		}
	}
	return nil
}

// options are the store's, on a file system that is broken if that is to be noticed.
func (l *storeLog) options(disk *vfs.MemFS) walstore.Options {
	switch b := l.wd.cfg.Break; {
	case b.SegmentsUnsynced:
		return walstore.Options{FS: hastyFS{disk}}
	case b.CreatedInPlace:
		return walstore.Options{FS: inPlaceFS{disk}}
	}
	return walstore.Options{FS: disk}
}

// hastyFS does not sync segments that are made ahead.
type hastyFS struct{ vfs.FS }

func (h hastyFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := h.FS.OpenReadWrite(name, c, o...)
	if err == nil && strings.HasSuffix(name, ".prepared") {
		f = hastyFile{f}
	}
	return f, err
}

// hastyFile syncs what is written later, which is by SyncData.
type hastyFile struct{ vfs.File }

func (hastyFile) Sync() error { return nil }

// inPlaceFS has no name for a folder that is being made.
type inPlaceFS struct{ vfs.FS }

func inPlace(name string) string { return strings.Replace(name, storeDir+".tmp", storeDir, 1) }

func (p inPlaceFS) MkdirAll(name string, perm fs.FileMode) error {
	return p.FS.MkdirAll(inPlace(name), perm)
}

func (p inPlaceFS) OpenDir(name string) (vfs.File, error) { return p.FS.OpenDir(inPlace(name)) }

func (p inPlaceFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return p.FS.OpenReadWrite(inPlace(name), c, o...)
}

func (p inPlaceFS) Remove(name string) error    { return p.FS.Remove(inPlace(name)) }
func (p inPlaceFS) RemoveAll(name string) error { return p.FS.RemoveAll(inPlace(name)) }

func (p inPlaceFS) Rename(from, to string) error {
	if from, to = inPlace(from), inPlace(to); from == to {
		return nil
	}
	return p.FS.Rename(from, to)
}
