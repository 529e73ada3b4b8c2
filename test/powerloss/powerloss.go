// Package powerloss is a file system over the operating system's that can lose
// what was not synced, as a machine does that loses power: a killed process
// alone loses nothing, since the kernel still writes its pages.
//
// It tracks file contents. Names (create, rename, remove) are kept as they are,
// which package wal/walstore's own crash tests cover in memory.
package powerloss

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrLost is what every change answers once the power is gone.
var ErrLost = errors.New("the power is gone")

// FS wraps vfs.Default. The zero value is not usable; make one with New.
type FS struct {
	vfs.FS

	mu    sync.Mutex
	gone  bool
	files map[string]*undo // by path
}

// undo is what brings a file back to its last sync, newest change last.
type undo struct {
	path    string
	changes []change
}

type change struct {
	at  int64
	old []byte // shorter than what was written where the file grew
	n   int
}

// New returns a file system with power.
func New() *FS { return &FS{FS: vfs.Default, files: map[string]*undo{}} }

// Lose cuts the power: unsynced contents are gone and every further change
// fails. It returns how many bytes were lost.
func (f *FS) Lose() (lost int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone = true
	for _, u := range f.files {
		n, e := u.rollBack(f.FS)
		lost, err = lost+n, errors.Join(err, e)
	}
	return lost, err
}

// rollBack takes the changes back in reverse. Where the file had grown it keeps
// its size and holds zeros, as a file system may well leave it.
func (u *undo) rollBack(fs vfs.FS) (lost int, err error) {
	if len(u.changes) == 0 {
		return 0, nil
	}
	file, err := fs.OpenReadWrite(u.path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return 0, fmt.Errorf("lose unsynced bytes: %w", err)
	}
	for i := len(u.changes) - 1; i >= 0; i-- {
		c := u.changes[i]
		old := make([]byte, c.n)
		copy(old, c.old)
		_, e := file.WriteAt(old, c.at)
		lost, err = lost+c.n, errors.Join(err, e)
	}
	return lost, errors.Join(err, file.Close())
}

// Create implements vfs.FS.
func (f *FS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return f.open(name, func() (vfs.File, error) { return f.FS.Create(name, category) })
}

// OpenReadWrite implements vfs.FS.
func (f *FS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return f.open(name, func() (vfs.File, error) { return f.FS.OpenReadWrite(name, category, opts...) })
}

func (f *FS) open(name string, open func() (vfs.File, error)) (vfs.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gone {
		return nil, ErrLost
	}
	file, err := open()
	if err != nil {
		return nil, err
	}
	u := f.files[name]
	if u == nil {
		u = &undo{path: name}
		f.files[name] = u
	}
	return &tracked{File: file, fs: f, undo: u}, nil
}

// Rename implements vfs.FS, of files and of folders.
func (f *FS) Rename(oldname, newname string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gone {
		return ErrLost
	}
	if err := f.FS.Rename(oldname, newname); err != nil {
		return err
	}
	delete(f.files, newname)
	for path, u := range maps.Clone(f.files) {
		rest, inside := strings.CutPrefix(path, oldname)
		if !inside || rest != "" && rest[0] != '/' {
			continue
		}
		delete(f.files, path)
		u.path = newname + rest
		f.files[u.path] = u
	}
	return nil
}

// Remove implements vfs.FS.
func (f *FS) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gone {
		return ErrLost
	}
	delete(f.files, name)
	return f.FS.Remove(name)
}

// tracked is a file opened for writing.
type tracked struct {
	vfs.File
	fs   *FS
	undo *undo
	next int64 // where Write goes on
}

// WriteAt implements vfs.File.
func (t *tracked) WriteAt(p []byte, at int64) (int, error) {
	t.fs.mu.Lock()
	defer t.fs.mu.Unlock()
	return t.write(p, at, func() (int, error) { return t.File.WriteAt(p, at) })
}

// Write implements vfs.File.
func (t *tracked) Write(p []byte) (int, error) {
	t.fs.mu.Lock()
	defer t.fs.mu.Unlock()
	n, err := t.write(p, t.next, func() (int, error) { return t.File.Write(p) })
	t.next += int64(n)
	return n, err
}

func (t *tracked) write(p []byte, at int64, write func() (int, error)) (int, error) {
	if t.fs.gone {
		return 0, ErrLost
	}
	old := make([]byte, len(p))
	n, err := t.readOld(old, at)
	if err != nil {
		return 0, err
	}
	t.undo.changes = append(t.undo.changes, change{at: at, old: old[:n], n: len(p)})
	return write()
}

// readOld reads by path, since a file that was created may be write-only.
func (t *tracked) readOld(p []byte, at int64) (int, error) {
	file, err := t.fs.FS.Open(t.undo.path)
	if err != nil {
		return 0, err
	}
	n, err := file.ReadAt(p, at)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, errors.Join(err, file.Close())
}

// Sync implements vfs.File. It does without the real one: what counts here is
// that it was asked for.
func (t *tracked) Sync() error {
	t.fs.mu.Lock()
	defer t.fs.mu.Unlock()
	if t.fs.gone {
		return ErrLost
	}
	t.undo.changes = nil
	return nil
}

// SyncData implements vfs.File.
func (t *tracked) SyncData() error { return t.Sync() }

// SyncTo implements vfs.File; it promises nothing.
func (t *tracked) SyncTo(int64) (bool, error) { return false, nil }
