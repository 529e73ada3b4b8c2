package walstore

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/wal"
)

// ControlFileName is the name of the control file in a timeline's folder; a
// folder that has it is a timeline.
const ControlFileName = "walhaven.control"

// Control is what a timeline durably knows about itself.
type Control struct {
	ID          wal.TTID
	Name        string // the timeline's name for people, at most 255 bytes
	SystemID    wal.SystemID
	PGVersion   uint32 // server_version_num, like 150020
	SegmentSize wal.SegmentSize
	Start       wal.LSN // first record: the slot's redo pointer
	History     wal.TimelineHistory
	// Watermark belongs to the store: every byte below it was fsynced under a
	// durable name. Edits by callers are ignored.
	Watermark wal.LSN
	// State is the consensus state, opaque here, at most MaxStateSize bytes.
	State []byte
}

// MaxStateSize bounds Control.State, so that a damaged length cannot ask for
// memory.
const MaxStateSize = 8 << 20

// clone returns a copy that shares no memory with c.
func (c Control) clone() Control {
	c.State = slices.Clone(c.State)
	c.History.Ancestors = slices.Clone(c.History.Ancestors)
	return c
}

func (c Control) validate() error {
	switch {
	case !c.SegmentSize.Valid():
		return fmt.Errorf("invalid segment size %d", uint32(c.SegmentSize))
	case c.Start == 0 || c.Start != c.Start.Align8():
		return fmt.Errorf("invalid start %s: expected the position of a record", c.Start)
	case !c.History.Valid():
		return errors.New("invalid timeline history")
	case len(c.Name) > maxNameLen:
		return fmt.Errorf("name of %d bytes is longer than %d", len(c.Name), maxNameLen)
	case len(c.State) > MaxStateSize:
		return fmt.Errorf("state of %d bytes is larger than %d", len(c.State), MaxStateSize)
	case len(c.History.Ancestors) > maxAncestors:
		return fmt.Errorf("history has %d ancestors, more than %d", len(c.History.Ancestors), maxAncestors)
	}
	for _, e := range c.History.Ancestors {
		if len(e.Reason) > maxReasonLen || strings.ContainsAny(e.Reason, "\t\n\r") {
			return fmt.Errorf("history entry of timeline %d: reason has a line break or more than %d bytes", e.TLI, maxReasonLen)
		}
	}
	return nil
}

// ReadControl reads the control file of the timeline in dir without opening the
// store and without changing anything, for tools.
func ReadControl(fs vfs.FS, dir string) (Control, error) {
	d := disk{fs: fs, dir: dir}
	c, _, err := d.readControl()
	return c, err
}

func (d *disk) readControl() (c Control, clean bool, err error) {
	content, err := d.readFile(ControlFileName, maxControlSize)
	if err != nil {
		return c, false, fmt.Errorf("read control file: %w", err)
	}
	c, clean, err = decodeControl(content)
	if err != nil {
		if errors.Is(err, ErrNewerVersion) {
			return c, false, err
		}
		return c, false, &CorruptionError{Timeline: c.ID, File: ControlFileName, Err: err}
	}
	return c, clean, nil
}

// writeControl writes the control file; durable when it returns nil. unsure
// says that an error left it open which file a crash would bring back.
func (d *disk) writeControl(c Control, clean bool) (unsure bool, err error) {
	start := time.Now()
	err = d.writeFile(ControlFileName, encodeControl(c, clean), pointControlWrite, pointControlSync, pointControlRename)
	if err != nil {
		return false, err
	}
	if err := d.syncFolder(); err != nil {
		return true, err
	}
	d.m.control.Observe(time.Since(start).Seconds())
	return false, nil
}

// Control returns a copy of the control file's content.
func (s *Store) Control() Control {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.control.clone()
}

// SaveControl applies edit to a copy of the control file's content and makes
// the result durable. ID, SegmentSize, Start and Watermark cannot be edited. A
// nil edit only moves the watermark up. On error the content is the old one; a
// full disk is ErrDiskFull, an edit that cannot be is refused (ErrHistory for a
// history that contradicts stored bytes), anything else fences the store.
func (s *Store) SaveControl(edit func(*Control)) error {
	if err := s.saveControl(edit, 0); err != nil {
		return err
	}
	invariant.Point(pointControlDone)
	return nil
}

// saveControl is SaveControl; floor is a flush position that a sync in progress
// has reached and not yet published, or 0.
func (s *Store) saveControl(edit func(*Control), floor wal.LSN) error {
	s.cmu.Lock()
	defer s.cmu.Unlock()
	s.mu.Lock()
	if err := s.usable(); err != nil {
		s.mu.Unlock()
		return err
	}
	old, write, inForce := s.control, s.pos.Write, s.history
	next := old.clone()
	next.Watermark = max(s.pos.FlushRecord, floor)
	s.mu.Unlock()

	if edit != nil {
		edit(&next)
		next.ID, next.SegmentSize, next.Start = old.ID, old.SegmentSize, old.Start
		if err := next.validate(); err != nil {
			return fmt.Errorf("save control file: %w", err)
		}
		// The position is read again: edit runs the caller's code.
		next.Watermark = max(s.Positions().FlushRecord, floor)
	}
	newHistory := !next.History.Equal(old.History)
	if newHistory {
		if write > s.first && !agree(inForce, next.History, write) {
			return fmt.Errorf("save control file: %w below %s", ErrHistory, write)
		}
		if err := s.d.writeHistories(next.History, false); err != nil {
			return s.failed("save control file", err, false)
		}
	}
	if unsure, err := s.d.writeControl(next, false); err != nil {
		return s.failed("save control file", err, unsure)
	}
	s.mu.Lock()
	s.control = next
	if newHistory {
		s.history = next.History
	}
	s.mu.Unlock()
	return nil
}
