package walstore

import (
	"fmt"
	"time"

	"github.com/walhaven/walhaven/internal/invariant"
)

// rounds is the state of group commit. A round is one sync of everything dirty;
// a caller is served by the first round that begins after its call.
type rounds struct {
	begun   uint64
	done    uint64
	good    uint64 // the last round that succeeded
	err     error  // of round done
	waiting int    // callers for the next round
	files   []dirtyFile
}

// errNeedsRepair is the answer to a sync that met the full disk of an earlier
// one before the repair.
var errNeedsRepair = fmt.Errorf("sync WAL: %w", ErrDiskFull)

// dirtyFile is a file with its flags as they were when the round began.
type dirtyFile struct {
	*openSegment
	full, retired bool
}

// Sync returns nil once everything that was appended before the call is on
// disk. ErrDiskFull may be tried again; ErrFenced is final until Open.
func (s *Store) Sync() error {
	start := time.Now()
	if err := s.repairIfNeeded(); err != nil {
		return err
	}
	if err := s.sync(); err != nil {
		return err
	}
	s.d.m.syncWait.Observe(time.Since(start).Seconds())
	invariant.Point(pointSyncDone)
	return nil
}

// sync is Sync without a repair.
func (s *Store) sync() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	if s.pos.Flush >= s.pos.Write && len(s.dirty) == 0 && !s.namesDirty {
		return nil
	}
	mine := s.rounds.begun + 1
	s.rounds.waiting++
	for s.rounds.done < mine {
		if err := s.usable(); err != nil {
			return err
		}
		if s.busy {
			s.cond.Wait()
			continue
		}
		s.round()
	}
	if s.rounds.good >= mine {
		return nil
	}
	return s.rounds.err
}

// round syncs what is dirty now; s.mu must be held and is released during I/O.
func (s *Store) round() {
	s.busy = true
	r := &s.rounds
	r.begun++
	s.d.m.group.Observe(float64(r.waiting))
	r.waiting = 0
	err := errNeedsRepair
	if !s.needRepair {
		err = s.syncDirty()
	}
	r.done, r.err = r.begun, err
	if err == nil {
		r.good = r.done
	}
	s.giveToken()
}

// syncDirty does a round's work and publishes what it reached; s.mu must be
// held and is released during I/O, the token kept.
func (s *Store) syncDirty() error {
	files := s.rounds.files[:0]
	for _, f := range s.dirty {
		f.dirty = false
		files = append(files, dirtyFile{openSegment: f, full: f.full, retired: f.retired})
	}
	s.rounds.files = files
	s.dirty = s.dirty[:0]
	upto, names := s.pos, s.namesDirty
	s.namesDirty = false
	prefix := s.control.Watermark < s.start && upto.WriteRecord >= s.start
	s.mu.Unlock()
	sealed, err := s.flush(files, names)
	if err == nil && prefix {
		// From now on recovery believes what lies in front of the start.
		err = s.saveControl(nil, upto.WriteRecord)
	}
	s.mu.Lock()
	if err != nil {
		s.namesDirty = s.namesDirty || names || sealed
		for _, f := range files {
			s.markDirty(f.openSegment)
		}
		return err
	}
	invariant.Assert(upto.Write >= s.pos.Flush && upto.WriteRecord >= s.pos.FlushRecord, "flush position goes back")
	s.pos.Flush, s.pos.FlushRecord = upto.Write, upto.WriteRecord
	for _, f := range files {
		if f.retired {
			s.files.release(f.h)
		}
	}
	if sealed {
		s.saveMarkLater()
	}
	return nil
}

// flush syncs the files, gives the full ones their final names and makes names
// durable.
func (s *Store) flush(files []dirtyFile, names bool) (sealed bool, err error) {
	for _, f := range files {
		if err := s.d.syncData(f.h, pointSegmentSync); err != nil {
			if IsDiskFull(err) {
				s.mu.Lock()
				s.needRepair = true
				s.mu.Unlock()
			}
			return false, s.failed("sync WAL", err, false)
		}
	}
	for _, f := range files {
		if !f.full {
			continue
		}
		if err := s.seal(f.segmentKey); err != nil {
			return sealed, err
		}
		sealed = true
	}
	if names || sealed {
		if err := s.d.syncFolder(); err != nil {
			return sealed, s.failed("sync WAL", err, true)
		}
	}
	return sealed, nil
}

// seal takes .partial off the name of a segment that is full and synced. It may
// be repeated. The caller owes the folder's fsync.
func (s *Store) seal(k segmentKey) error {
	s.mu.Lock()
	g, ok := s.segments.find(k)
	s.mu.Unlock()
	if !ok || !g.partial {
		return nil
	}
	final := segment{segmentKey: k}
	if err := s.d.rename(g.name(s.size), final.name(s.size), pointSegmentSeal); err != nil {
		return s.failed("complete segment", err, false)
	}
	s.mu.Lock()
	s.segments = s.segments.with(final)
	s.mu.Unlock()
	return nil
}

// markDirty has the next round sync f; s.mu must be held.
func (s *Store) markDirty(f *openSegment) {
	if !f.dirty {
		f.dirty = true
		s.dirty = append(s.dirty, f)
	}
}

// saveMarkLater persists the watermark in the background, so that recovery has
// little to read; s.mu must be held.
func (s *Store) saveMarkLater() {
	if s.savingMark || s.closed {
		return
	}
	s.savingMark = true
	s.background.Go(func() {
		err := s.saveControl(nil, 0)
		s.mu.Lock()
		s.savingMark = false
		s.mu.Unlock()
		if err != nil {
			s.log.Warn("watermark was not saved", "err", err)
		}
	})
}
