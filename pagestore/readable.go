package pagestore

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/objstorage"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// ioError marks what the file system said, so that every other error of a read
// is known to be damage in the file.
type ioError struct{ err error }

func (e *ioError) Error() string        { return e.err.Error() }
func (e *ioError) Unwrap() error        { return e.err }
func (e *ioError) Is(target error) bool { return target == ErrIO } //nolint:errorlint // What errors.Is asks.

// readable gives a layer file to Pebble.
type readable struct {
	f    vfs.File
	size int64
}

func newReadable(f vfs.File) (*readable, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, &ioError{err}
	}
	return &readable{f: f, size: info.Size()}, nil
}

func (r *readable) ReadAt(_ context.Context, p []byte, off int64) error {
	if off < 0 || off > r.size || int64(len(p)) > r.size-off {
		return fmt.Errorf("%d bytes at offset %d lie outside the file", len(p), off)
	}
	n, err := r.f.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		// Not io.ErrUnexpectedEOF: that is how connections end.
		return fmt.Errorf("the file ends within the %d bytes at offset %d", len(p), off)
	}
	return &ioError{err}
}

func (r *readable) Close() error { return r.f.Close() }
func (r *readable) Size() int64  { return r.size }

func (r *readable) NewReadHandle(objstorage.ReadBeforeSize) objstorage.ReadHandle {
	h := objstorage.MakeNoopReadHandle(r)
	return &h
}
