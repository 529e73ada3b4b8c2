package walstore

import (
	"errors"
	"fmt"
)

// failed turns the error of a write, sync or rename into what callers see. A
// full disk may be tried again unless unsure says that the failure left the
// disk's content open; everything else fences the store. s.mu must not be held.
func (s *Store) failed(action string, err error, unsure bool) error {
	if errors.Is(err, ErrFenced) || errors.Is(err, ErrClosed) || errors.Is(err, ErrDiskFull) && !unsure {
		return err // Judged already.
	}
	if IsDiskFull(err) && !unsure {
		s.d.m.failures.WithLabelValues("disk_full").Inc()
		return fmt.Errorf("%s: %w: %w", action, ErrDiskFull, err)
	}
	s.d.m.failures.WithLabelValues("io").Inc()
	return s.fenceWith(fmt.Errorf("%s: %w", action, err))
}

// fenceWith fences the store, in memory first and then by the mark on disk. The
// mark may fail too: Open does not depend on it, since it rewrites everything
// above the watermark of a store that was not closed in order.
func (s *Store) fenceWith(cause error) error {
	s.mu.Lock()
	if s.fence != nil {
		defer s.mu.Unlock()
		return s.fence
	}
	s.fence = fmt.Errorf("%w: %w", ErrFenced, cause)
	fence := s.fence
	s.cond.Broadcast()
	s.mu.Unlock()
	s.d.m.fenced.Inc()
	s.log.Error("timeline is fenced until it is opened again", "err", cause)
	if err := s.d.writeFenceMark(cause); err != nil {
		s.log.Error("fence mark was not written", "err", err)
	}
	return fence
}

func (d *disk) writeFenceMark(cause error) error {
	text := "A write or fsync of this timeline failed. WAL above the watermark is rewritten at the next start.\n" + cause.Error() + "\n"
	if err := d.writeFile(fencedName, []byte(text), pointFenceWrite, pointFenceSync, pointFenceSync); err != nil {
		return err
	}
	return d.syncFolder()
}

// removeFenceMark is called when recovery is durable.
func (d *disk) removeFenceMark() error {
	if err := d.remove(fencedName, pointFenceRemove); err != nil {
		return err
	}
	return d.syncFolder()
}
