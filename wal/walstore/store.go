package walstore

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Options of a store; the zero value works.
type Options struct {
	FS      vfs.FS       // nil: vfs.Default
	Logger  *slog.Logger // nil: nothing is logged
	Metrics *Metrics     // nil: nothing is counted
	// NoSync skips every fsync. Nothing is durable then: it exists as the
	// negative control of crash tests.
	NoSync bool
	// AllocateWithin is in how short a time an eighth of a segment fills when WAL comes
	// fast: the zeroes of the next segment are then left to the file system and not
	// written, until it comes slowly again. 0: never.
	AllocateWithin time.Duration
}

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil, "safekeeper")
	}
	return o
}

// Positions of a store. Flush <= Write and FlushRecord <= WriteRecord.
//
// The record positions are ends of whole records, 8-aligned; after an
// XLOG_SWITCH the end is the next segment's start, so that WriteRecord may run
// ahead of Write until the padding has arrived. While the bytes in front of
// Control.Start are incomplete, the record positions are the first segment's
// start.
type Positions struct {
	Write       wal.LSN // end of the bytes given to the operating system
	WriteRecord wal.LSN // end of the last whole record written
	Flush       wal.LSN // end of the bytes on disk
	FlushRecord wal.LSN // end of the last whole record on disk
}

// Store is the WAL of one timeline on disk. All methods may be called
// concurrently.
//
// Locks are taken in the order wmu, rmu, the I/O token, cmu, mu. No I/O is done
// under mu.
type Store struct {
	d     disk
	log   *slog.Logger
	id    wal.TTID
	size  wal.SegmentSize
	start wal.LSN // Control.Start
	first wal.LSN // start of the segment that holds start
	files handles
	prep  preparer

	allocateWithin, calmAfter time.Duration

	background sync.WaitGroup // preparation and watermark; Close waits

	// wmu serialises those who change the end of the WAL. Writes are done under
	// it; fsyncs are not, except in Truncate.
	wmu       sync.Mutex
	scan      *walrecord.Scanner // at pos.Write, or at start while the prefix is incomplete
	tail      *openSegment       // file that the next byte goes to; nil at a segment start
	scanLast  wal.TLI            // newest TLI that scan takes
	prefixCRC uint32             // of the bytes in front of start that were appended

	rmu sync.Mutex // serialises removal of files
	cmu sync.Mutex // serialises writing of the control file

	mu           sync.Mutex
	cond         sync.Cond // token released, round done, fenced
	pos          Positions
	epoch        uint64 // rises when bytes below Write may change
	segments     segmentList
	removedBelow wal.LSN
	firstRecord  firstRecord         // see OldestRecord
	control      Control             // as on disk
	history      wal.TimelineHistory // in force for new bytes; Truncate is ahead of control
	dirty        []*openSegment      // files with bytes that the next round syncs
	namesDirty   bool                // a file got a name that is not durable yet
	busy         bool                // the I/O token: a round, a truncation or a repair is on its way
	rounds       rounds
	needRepair   bool // a sync ran out of space: unsynced bytes must be rewritten
	needCut      bool // a failed write or truncation may have left bytes above Write
	refuseAppend bool // a truncation ran out of space and must be repeated first
	fence        error
	savingMark   bool // a background save of the watermark is on its way
	closed       bool
}

// openSegment is a file that is being written. The flags are under Store.mu.
type openSegment struct {
	segmentKey
	h       *handle
	dirty   bool // in Store.dirty
	full    bool // written to its end: the next round renames it
	retired bool // no byte follows: the next round gives up its handle

	begun time.Time

	// Under Store.wmu.
	sparse bool  // its zeroes were allocated and not written
	zeroed int64 // up to where they have been since
}

func newStore(dir string, c Control, o Options) *Store {
	s := &Store{
		d:       disk{fs: o.FS, dir: dir, m: o.Metrics, noSync: o.NoSync},
		log:     o.Logger.With("timeline", c.ID.String()),
		id:      c.ID,
		size:    c.SegmentSize,
		start:   c.Start,
		first:   c.SegmentSize.SegmentStart(c.Start),
		control: c,
		history: c.History,

		allocateWithin: o.AllocateWithin,
		calmAfter:      calmAfter * o.AllocateWithin,
	}
	s.cond.L = &s.mu
	return s
}

// usable says whether the store takes changes; s.mu must be held.
func (s *Store) usable() error {
	if s.fence != nil {
		return s.fence
	}
	if s.closed {
		return ErrClosed
	}
	return nil
}

// Positions returns where the WAL ends.
func (s *Store) Positions() Positions {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pos
}

// Fenced returns nil, or an error that wraps ErrFenced and the cause.
func (s *Store) Fenced() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fence
}

// takeToken waits until no other I/O of the kind is on its way; s.mu must be
// held, and is held again on return.
func (s *Store) takeToken() {
	for s.busy {
		s.cond.Wait()
	}
	s.busy = true
}

// giveToken lets the next one in; s.mu must be held.
func (s *Store) giveToken() {
	s.busy = false
	s.cond.Broadcast()
}

// goBackground runs f in a goroutine that Close waits for; it returns false if
// the store is closed.
func (s *Store) goBackground(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.background.Go(f)
	return true
}

func (s *Store) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// Close makes appended WAL durable, waits for background work and closes the
// files. A second call returns nil.
func (s *Store) Close() error {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	if s.isClosed() {
		return nil
	}
	err := s.sync()
	s.mu.Lock()
	s.closed = true
	s.takeToken() // No round is on its way any more, and none begins.
	fence, clean := s.fence, err == nil && !s.needCut
	s.giveToken()
	s.mu.Unlock()
	s.background.Wait()
	err = errors.Join(err, s.prep.discard(&s.d))
	if fence == nil && clean {
		err = errors.Join(err, s.saveClean())
	}
	s.releaseOpen()
	if fence != nil {
		s.d.m.fenced.Dec()
	}
	if err = errors.Join(err, s.files.closeAll()); err != nil {
		return fmt.Errorf("close WAL store: %w", err)
	}
	return nil
}

// releaseOpen gives up the files that were being written.
func (s *Store) releaseOpen() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.dirty {
		if f.retired {
			s.files.release(f.h)
		}
	}
	s.dirty = nil
	if s.tail != nil {
		s.files.release(s.tail.h)
		s.tail = nil
	}
}

// saveClean tells the next Open that nothing lies above the watermark, if that
// is so.
func (s *Store) saveClean() error {
	s.cmu.Lock()
	defer s.cmu.Unlock()
	s.mu.Lock()
	c, pos := s.control.clone(), s.pos
	s.mu.Unlock()
	if pos.Write != pos.FlushRecord || pos.Flush != pos.Write {
		return nil // A part of a record: the next Open cuts it off.
	}
	c.Watermark = pos.FlushRecord
	_, err := s.d.writeControl(c, true)
	return err
}
