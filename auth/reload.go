package auth

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// maxFileSize bounds users files, keys and certificates in bytes.
const maxFileSize = 4 << 20

// reloaded is a value parsed from files, parsed again when one of them changed.
// While a changed set cannot be parsed, as in the middle of a rotation, the
// value before stays in force.
type reloaded[T any] struct {
	list  func() ([]string, error)        // the files now
	parse func(files [][]byte) (T, error) // their contents, in that order
	fault func(err error)                 // told about a set that cannot be used

	mu    sync.Mutex
	state []fileState
	value T
}

// fileState tells versions of a file apart.
type fileState struct {
	path    string
	size    int64
	changed time.Time
	inode   uint64
}

func newReloaded[T any](list func() ([]string, error), parse func([][]byte) (T, error), fault func(error)) (*reloaded[T], error) {
	r := &reloaded[T]{list: list, parse: parse, fault: fault}
	state, err := r.look()
	if err != nil {
		return nil, err
	}
	if r.value, err = r.read(state); err != nil {
		return nil, err
	}
	r.state = state
	return r, nil
}

// get returns the value in force.
func (r *reloaded[T]) get() T {
	r.mu.Lock()
	defer r.mu.Unlock()
	state, err := r.look()
	if err == nil {
		if sameStates(state, r.state) {
			return r.value
		}
		var value T
		if value, err = r.read(state); err == nil {
			r.value, r.state = value, state
			return value
		}
	}
	if r.fault != nil {
		r.fault(err)
	}
	return r.value
}

func (r *reloaded[T]) look() ([]fileState, error) {
	paths, err := r.list()
	if err != nil {
		return nil, err
	}
	states := make([]fileState, len(paths))
	for i, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("read authentication file: %w", err)
		}
		if info.Mode().Perm()&0o002 != 0 {
			return nil, fmt.Errorf("read authentication file: %s may be written by anyone", path)
		}
		states[i] = fileState{path, info.Size(), info.ModTime(), inode(info)}
	}
	return states, nil
}

func (r *reloaded[T]) read(states []fileState) (value T, err error) {
	contents := make([][]byte, len(states))
	for i, s := range states {
		if contents[i], err = readBounded(s.path); err != nil {
			return value, err
		}
	}
	return r.parse(contents)
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read authentication file: %w", err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return nil, fmt.Errorf("read authentication file: %w", err)
	}
	if len(content) > maxFileSize {
		return nil, fmt.Errorf("read authentication file: %s is bigger than %d bytes", path, maxFileSize)
	}
	return content, nil
}

func sameStates(a, b []fileState) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].path != b[i].path || a[i].size != b[i].size || a[i].inode != b[i].inode || !a[i].changed.Equal(b[i].changed) {
			return false
		}
	}
	return true
}
