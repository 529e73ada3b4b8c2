package walstore

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/walhaven/walhaven/wal"
)

// preparer makes the next segment's file ahead: full size, all zeroes, synced,
// under a name that recovery removes. It belongs to no segment until it is
// renamed, so there is at most one.
type preparer struct {
	mu     sync.Mutex
	done   chan struct{} // closed when the preparation that is on its way ends
	ready  vfs.File
	sparse bool    // of ready: its zeroes were allocated and not written
	after  wal.LSN // do not begin below: the last attempt failed
}

// prepareAhead begins a preparation in the background once an eighth of the
// open segment is written: early enough, and an idle timeline has none.
func (s *Store) prepareAhead(write wal.LSN) {
	eighth := uint32(s.size) / 8
	if s.size.Offset(write) < eighth {
		return
	}
	p := &s.prep
	p.mu.Lock()
	defer p.mu.Unlock()
	// Near the segment's end nobody waits for zeroes: the file is taken as it is.
	late := uint32(s.size)-s.size.Offset(write) < 2*eighth
	have := p.ready != nil && (late || !p.sparse || !s.calm())
	if have || p.done != nil || write < p.after {
		return
	}
	old, fast, done := p.ready, s.hurries(), make(chan struct{})
	p.ready, p.done = nil, done
	begun := s.goBackground(func() {
		f, sparse, err := s.prepare(old, fast)
		if err != nil && !errors.Is(err, ErrClosed) {
			s.log.Warn("segment was not prepared ahead", "err", err)
		}
		p.mu.Lock()
		p.ready, p.sparse, p.done = f, sparse, nil
		if err != nil {
			p.after = write + wal.LSN(eighth)
		}
		p.mu.Unlock()
		close(done)
	})
	if !begun {
		p.ready, p.done = old, nil
	}
}

// prepare makes a file, or writes the zeroes of the sparse one that there is, which
// stays what it was where there is no room for them.
func (s *Store) prepare(old vfs.File, fast bool) (f vfs.File, sparse bool, err error) {
	start, fill := time.Now(), s.d.zeroes
	switch {
	case old != nil:
		if _, err := s.d.zeroes(old, int64(s.size), s.isClosed); IsDiskFull(err) {
			return old, true, fmt.Errorf("prepare segment: %w", err)
		} else if err != nil {
			return s.d.giveUp(old, preparedName, err)
		}
		return s.d.finish(old, preparedName, false)
	case fast:
		fill = s.d.allocate
	}
	if f, sparse, err = s.d.newFile(preparedName, s.size, s.isClosed, fill); err == nil {
		s.d.m.prepare.Observe(time.Since(start).Seconds())
	}
	return f, sparse, err
}

// take returns the prepared file, which has preparedName, making it now if
// there is none. Sparse says that its zeroes were allocated and not written.
func (p *preparer) take(d *disk, size wal.SegmentSize) (f vfs.File, sparse bool, err error) {
	p.mu.Lock()
	done := p.done
	p.mu.Unlock()
	if done != nil {
		<-done
	}
	p.mu.Lock()
	f, sparse = p.ready, p.sparse
	p.ready = nil
	p.mu.Unlock()
	if f != nil {
		if done == nil {
			d.m.switchReady.Inc()
		} else {
			d.m.switchStall.Inc()
		}
		return f, sparse, nil
	}
	d.m.switchStall.Inc()
	f, err = d.newSegmentFile(preparedName, size, nil)
	return f, false, err
}

// giveBack keeps f, which take returned and nobody wrote to, for the next try.
func (p *preparer) giveBack(f vfs.File, sparse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ready, p.sparse = f, sparse
}

// discard removes the prepared file; no preparation may be on its way.
func (p *preparer) discard(d *disk) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ready == nil {
		return nil
	}
	err := errors.Join(p.ready.Close(), d.remove(preparedName, pointSegmentRemove))
	p.ready = nil
	return err
}

// newSegmentFile makes a zeroed and synced file of a segment's size.
func (d *disk) newSegmentFile(name string, size wal.SegmentSize, stop func() bool) (vfs.File, error) {
	f, _, err := d.newFile(name, size, stop, d.zeroes)
	return f, err
}

// fillFunc makes size zeroes of an empty file; sparse says that they were allocated and
// not written. stop, if not nil, ends it early.
type fillFunc func(f vfs.File, size int64, stop func() bool) (sparse bool, err error)

// newFile makes a file of a segment's size that reads as zeroes, and syncs it.
func (d *disk) newFile(name string, size wal.SegmentSize, stop func() bool, fill fillFunc) (f vfs.File, sparse bool, err error) {
	if f, err = d.create(name); err != nil {
		return nil, false, err
	}
	if sparse, err = fill(f, int64(size), stop); err != nil {
		return d.giveUp(f, name, err)
	}
	return d.finish(f, name, sparse)
}

// finish syncs a file that nobody knows of yet.
func (d *disk) finish(f vfs.File, name string, sparse bool) (vfs.File, bool, error) {
	if err := d.syncAll(f, pointSegmentSync); err != nil {
		return d.giveUp(f, name, err)
	}
	return f, sparse, nil
}

// giveUp removes such a file, which holds nothing: that gives its space back.
func (d *disk) giveUp(f vfs.File, name string, why error) (vfs.File, bool, error) {
	_ = f.Close()
	_ = d.fs.Remove(d.path(name))
	return nil, false, fmt.Errorf("prepare segment: %w", why)
}

// zeroes writes them.
func (d *disk) zeroes(f vfs.File, size int64, stop func() bool) (sparse bool, err error) {
	// Allocating first keeps the file in few pieces; not all file systems can.
	_ = f.Preallocate(0, size)
	return false, d.zero(f, 0, size, stop)
}

// allocate writes the last ones, which give the file its size; the others are not
// on the disk but in what the file system knows of it. Not all file systems can.
func (d *disk) allocate(f vfs.File, size int64, stop func() bool) (sparse bool, err error) {
	if err := f.Preallocate(0, size); err != nil {
		return false, d.zero(f, 0, size, stop)
	}
	return true, d.zero(f, size-wal.BlockSize, size, stop)
}
