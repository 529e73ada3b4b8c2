package pgdata

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/walhaven/walhaven/wal"
)

// State is how the server was left (DBState in catalog/pg_control.h).
type State uint32

// States of a server that was stopped in order; all others are those of a crash
// or of a recovery that was cut short.
const (
	ShutDown           State = 1
	ShutDownInRecovery State = 2
)

// Control is what pg_control says.
type Control struct {
	SystemID   wal.SystemID
	State      State
	Checkpoint wal.LSN // of the last checkpoint's record
	Redo       wal.LSN // where recovery from it begins
	// TLI is the timeline that the server was on: the checkpoint's, or a newer one
	// that it was promoted to since.
	TLI wal.TLI

	SegmentSize wal.SegmentSize
	// BlockSize is that of relations in bytes, RelSegBlocks the length of their
	// files in such blocks.
	BlockSize, RelSegBlocks uint32

	// Raw is the content up to and with its checksum; CheckPoint the copy of the last
	// checkpoint in it (CheckPoint in catalog/pg_control.h).
	Raw, CheckPoint []byte
}

// Places in pg_control (ControlFileData) that are the same from 14 to 18.
const (
	offSystemID   = 0
	offVersion    = 8
	offState      = 16
	offCheckpoint = 32
	offCopy       = 40
	offRedo       = offCopy
	offTLI        = offCopy + 8
	offMinTLI     = 144
	offBlockSize  = 216
	offRelSeg     = 220
	offWALBlock   = 224
	offWALSegment = 228
	offCRC17      = 288 // up to version 17
	offCRC18      = 292

	checkPointSize = 88
	version14      = 1300 // pg_control_version, up to 17
	version18      = 1800
	// maxControl is the size of the file in bytes (PG_CONTROL_FILE_SIZE).
	maxControl = 8192
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrControlChecksum says that pg_control is damaged, or was read while a server
// wrote it.
var ErrControlChecksum = errors.New("pg_control has a wrong checksum")

// ParseControl reads the content of global/pg_control. The Control has a copy.
func ParseControl(b []byte) (Control, error) {
	if len(b) < offCRC18+4 || len(b) > maxControl {
		return Control{}, fmt.Errorf("pg_control has %d bytes", len(b))
	}
	le := binary.LittleEndian
	end := offCRC17
	switch version := le.Uint32(b[offVersion:]); {
	case version < version14 || version > version18:
		return Control{}, fmt.Errorf("pg_control is of version %d, which is not one of PostgreSQL 14 to 18", version)
	case version == version18:
		end = offCRC18
	}
	if le.Uint32(b[end:]) != crc32.Checksum(b[:end], castagnoli) {
		return Control{}, ErrControlChecksum
	}
	raw := append([]byte(nil), b[:end+4]...)
	c := Control{
		SystemID: wal.SystemID(le.Uint64(raw[offSystemID:])), State: State(le.Uint32(raw[offState:])),
		Checkpoint: wal.LSN(le.Uint64(raw[offCheckpoint:])), Redo: wal.LSN(le.Uint64(raw[offRedo:])),
		TLI:         wal.TLI(max(le.Uint32(raw[offTLI:]), le.Uint32(raw[offMinTLI:]))),
		SegmentSize: wal.SegmentSize(le.Uint32(raw[offWALSegment:])),
		BlockSize:   le.Uint32(raw[offBlockSize:]), RelSegBlocks: le.Uint32(raw[offRelSeg:]),
		Raw: raw, CheckPoint: raw[offCopy : offCopy+checkPointSize],
	}
	switch {
	case c.SystemID == 0 || c.TLI == 0 || c.Redo == 0 || c.Redo > c.Checkpoint:
		return Control{}, fmt.Errorf("pg_control contradicts itself: system identifier %s, timeline %d, redo %s, checkpoint %s",
			c.SystemID, c.TLI, c.Redo, c.Checkpoint)
	case !c.SegmentSize.Valid() || le.Uint32(raw[offWALBlock:]) != wal.BlockSize:
		return Control{}, errors.New("the server was built with another WAL block size than the default one, or its segment size is none")
	}
	return c, nil
}
