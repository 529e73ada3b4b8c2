package walstore

import (
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

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

// ReadControl reads the control file of the timeline in dir without opening the
// store and without changing anything, for tools.
func ReadControl(fs vfs.FS, dir string) (Control, error) { panic("todo") }
