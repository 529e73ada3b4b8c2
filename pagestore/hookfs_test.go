package pagestore

import (
	"os"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// hookFS calls before ahead of each operation that changes the disk. Its
// methods without a counterpart here only read.
type hookFS struct {
	vfs.FS
	before func(op, path string) error
	// lie makes fsyncs of such files do nothing: a protection switched off.
	lie func(path string) bool
}

type hookFile struct {
	vfs.File
	fs   *hookFS
	path string
}

func (fs *hookFS) wrap(f vfs.File, err error, path string) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &hookFile{File: f, fs: fs, path: path}, nil
}

func (fs *hookFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := fs.before("create", name); err != nil {
		return nil, err
	}
	f, err := fs.FS.Create(name, c)
	return fs.wrap(f, err, name)
}

func (fs *hookFS) OpenDir(name string) (vfs.File, error) {
	f, err := fs.FS.OpenDir(name)
	return fs.wrap(f, err, name)
}

func (fs *hookFS) Link(from, to string) error {
	if err := fs.before("link", to); err != nil {
		return err
	}
	return fs.FS.Link(from, to)
}

func (fs *hookFS) Rename(from, to string) error {
	if err := fs.before("rename", to); err != nil {
		return err
	}
	return fs.FS.Rename(from, to)
}

func (fs *hookFS) Remove(name string) error {
	if err := fs.before("remove", name); err != nil {
		return err
	}
	return fs.FS.Remove(name)
}

func (fs *hookFS) RemoveAll(name string) error {
	if err := fs.before("remove all", name); err != nil {
		return err
	}
	return fs.FS.RemoveAll(name)
}

func (fs *hookFS) MkdirAll(name string, mode os.FileMode) error {
	if err := fs.before("mkdir", name); err != nil {
		return err
	}
	return fs.FS.MkdirAll(name, mode)
}

func (f *hookFile) Write(p []byte) (int, error) {
	if err := f.fs.before("write", f.path); err != nil {
		return 0, err
	}
	return f.File.Write(p)
}

func (f *hookFile) Sync() error {
	if err := f.fs.before("sync", f.path); err != nil {
		return err
	}
	if f.fs.lie != nil && f.fs.lie(f.path) {
		return nil
	}
	return f.File.Sync()
}

func isLayer(path string) bool  { return strings.HasSuffix(path, layerSuffix) }
func isIndex(path string) bool  { return strings.HasSuffix(path, indexTemp) }
func isFolder(path string) bool { return strings.HasSuffix(path, timelineID(0).String()) }

var _ vfs.FS = &hookFS{}
