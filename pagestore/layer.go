package pagestore

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"sync"

	"github.com/cockroachdb/pebble/v2/objstorage"
	"github.com/cockroachdb/pebble/v2/sstable"

	"github.com/walhaven/walhaven/wal"
)

// layer is one layer file. It is opened when first read and may be closed again
// when too many are open and nobody reads it.
type layer struct {
	info   layerInfo
	t      *Timeline
	name   string
	number uint64 // in the block cache

	mu     sync.Mutex
	reader *sstable.Reader
	values func() sstable.IterOptions
	users  int
	recent bool // read since tables looked
	gone   bool // dropped: must not be opened again
}

func (t *Timeline) newLayer(info layerInfo) *layer {
	return &layer{info: info, t: t, name: layerName(&info), number: t.s.tables.number.Add(1)}
}

func (l *layer) path() string { return l.t.s.disk.PathJoin(l.t.dir, l.name) }

// failed wraps a read's error with the layer's name; damage is marked.
func (l *layer) failed(err error) error {
	var system *ioError
	if errors.As(err, &system) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("read layer %s of timeline %s: %w", l.name, l.t.id, err)
	}
	return &CorruptionError{Timeline: l.t.id, File: l.name, Offset: -1, Err: err}
}

// acquire returns the open table; release must follow.
func (l *layer) acquire(ctx context.Context) (sstable.IterOptions, *sstable.Reader, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reader == nil {
		if l.gone {
			return sstable.IterOptions{}, nil, fmt.Errorf("read layer %s: %w", l.name, ErrClosed)
		}
		if err := l.open(ctx); err != nil {
			return sstable.IterOptions{}, nil, l.failed(err)
		}
	}
	l.users++
	l.recent = true
	return l.values(), l.reader, nil
}

func (l *layer) release() {
	l.mu.Lock()
	l.users--
	l.mu.Unlock()
}

func (l *layer) open(ctx context.Context) error {
	f, err := l.t.s.disk.Open(l.path())
	if err != nil {
		return &ioError{err}
	}
	readable, err := newReadable(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if n := uint64(readable.size); n != l.info.Size {
		return errors.Join(fmt.Errorf("file has %d bytes, the index says %d", n, l.info.Size), f.Close())
	}
	reader, err := sstable.NewReader(ctx, readable, l.t.s.tables.options(l.number))
	if err != nil {
		return errors.Join(err, f.Close())
	}
	provider := sstable.MakeTrivialReaderProvider(reader)
	l.reader = reader
	l.values = func() sstable.IterOptions {
		return sstable.IterOptions{
			FilterBlockSizeLimit: sstable.AlwaysUseFilterBlock,
			ReaderProvider:       provider,
			BlobContext:          sstable.AssertNoBlobHandles,
		}
	}
	l.t.s.tables.opened(l)
	return nil
}

// close closes the table, for good when gone is set.
func (l *layer) close(gone bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = l.gone || gone
	if l.reader == nil {
		return nil
	}
	err := l.reader.Close()
	l.reader = nil
	if gone {
		l.t.s.tables.cache.evict(l.number)
	}
	return err
}

// get gives v the entries of key from lsn downwards, hidden excluded, until it
// has enough.
func (l *layer) get(ctx context.Context, key Key, lsn, hidden wal.LSN, v *Value) (enough bool, err error) {
	o, reader, err := l.acquire(ctx)
	if err != nil {
		return false, err
	}
	defer l.release()
	iter, err := reader.NewPointIter(ctx, o)
	if err != nil {
		return false, l.failed(err)
	}
	defer func() { err = l.closeIter(iter, err) }()
	var buf [layerKeySize]byte
	seek := searchKey(buf[:0], key, lsn)
	v.Layers++
	var row rowReader
	for kv := iter.SeekPrefixGE(seek[:KeySize], seek, 0); kv != nil; kv = iter.Next() {
		ok, err := row.open(kv.K.UserKey, kv.InPlaceValue())
		for ; ok; ok, err = row.next() {
			switch it := &row.it; {
			case it.key != key:
				return false, nil
			case it.lsn > lsn:
			case it.lsn < hidden || v.add(it.lsn, it.kind, it.value()):
				return true, nil
			}
		}
		if err != nil {
			return false, l.damaged(err)
		}
	}
	return false, nil
}

// damaged says that what a table holds is no entry.
func (l *layer) damaged(err error) error {
	return &CorruptionError{Timeline: l.t.id, File: l.name, Offset: -1, Err: err}
}

// closeIter closes iter and reports the first of err and what it kept.
func (l *layer) closeIter(iter sstable.Iterator, err error) error {
	kept := iter.Error()
	if e := iter.Close(); kept == nil {
		kept = e
	}
	if err == nil && kept != nil {
		return l.failed(kept)
	}
	return err
}

// verify reads the whole file and compares its sum with the index.
func (l *layer) verify(ctx context.Context) error {
	f, err := l.t.s.disk.Open(l.path())
	if err != nil {
		return l.failed(&ioError{err})
	}
	defer f.Close() // Nothing was written.
	buf := make([]byte, 1<<20)
	var sum uint32
	var size uint64
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := f.Read(buf)
		sum = crc32.Update(sum, castagnoli, buf[:n])
		size += uint64(n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return l.failed(&ioError{err})
		}
	}
	if size != l.info.Size || sum != l.info.CRC {
		return &CorruptionError{Timeline: l.t.id, File: l.name, Offset: -1, Err: fmt.Errorf(
			"%d bytes with checksum %08x, the index says %d with %08x", size, sum, l.info.Size, l.info.CRC)}
	}
	return nil
}

// layerCursor walks a layer's entries of a range of keys.
type layerCursor struct {
	l       *layer
	iter    sstable.Iterator
	start   Key
	started bool
	end     Key
	row     rowReader
}

func (l *layer) cursor(ctx context.Context, r KeyRange) (*layerCursor, error) {
	o, reader, err := l.acquire(ctx)
	if err != nil {
		return nil, err
	}
	o.FilterBlockSizeLimit = sstable.NeverUseFilterBlock
	iter, err := reader.NewPointIter(ctx, o)
	if err != nil {
		l.release()
		return nil, l.failed(err)
	}
	return &layerCursor{l: l, iter: iter, start: r.Start, end: r.End}, nil
}

func (c *layerCursor) advance() (bool, error) {
	if ok, err := c.row.next(); ok || err != nil {
		return c.took(ok, err)
	}
	if !c.started {
		c.started = true
		var buf [layerKeySize]byte
		if kv := c.iter.SeekGE(searchKey(buf[:0], c.start, math.MaxUint64), 0); kv != nil {
			return c.took(c.row.open(kv.K.UserKey, kv.InPlaceValue()))
		}
	} else if kv := c.iter.Next(); kv != nil {
		return c.took(c.row.open(kv.K.UserKey, kv.InPlaceValue()))
	}
	if err := c.iter.Error(); err != nil {
		return false, c.l.failed(err)
	}
	return false, nil
}

// took says whether the entry that was read is one of the range.
func (c *layerCursor) took(ok bool, err error) (bool, error) {
	if err != nil {
		return false, c.l.damaged(err)
	}
	return ok && c.row.it.key.Compare(c.end) < 0, nil
}

func (c *layerCursor) item() *item { return &c.row.it }

func (c *layerCursor) close() error {
	err := c.l.closeIter(c.iter, nil)
	c.l.release()
	return err
}

var _ objstorage.Writable = (*layerFile)(nil)
