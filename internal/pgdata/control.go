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
}

// Offsets in pg_control that are the same from 14 to 18.
const (
	offSystemID   = 0
	offState      = 16
	offCheckpoint = 32
	offRedo       = 40
	offTLI        = 48
	offMinTLI     = 144
	// The checksum is behind all fields, whose length differs between majors.
	minCRC, maxCRC = 240, 512
)

var errControl = errors.New("pg_control is damaged, or of an unknown version")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ParseControl reads the content of global/pg_control.
func ParseControl(b []byte) (Control, error) {
	if !checksummed(b) {
		return Control{}, errControl
	}
	le := binary.LittleEndian
	c := Control{
		SystemID: wal.SystemID(le.Uint64(b[offSystemID:])), State: State(le.Uint32(b[offState:])),
		Checkpoint: wal.LSN(le.Uint64(b[offCheckpoint:])), Redo: wal.LSN(le.Uint64(b[offRedo:])),
		TLI: wal.TLI(max(le.Uint32(b[offTLI:]), le.Uint32(b[offMinTLI:]))),
	}
	if c.SystemID == 0 || c.TLI == 0 || c.Redo == 0 || c.Redo > c.Checkpoint {
		return Control{}, fmt.Errorf("%w: system identifier %s, timeline %d, redo %s, checkpoint %s", errControl, c.SystemID, c.TLI, c.Redo, c.Checkpoint)
	}
	return c, nil
}

// checksummed looks for the checksum: of all lengths that the struct can have,
// just one fits.
func checksummed(b []byte) bool {
	if len(b) < maxCRC+4 {
		return false
	}
	crc := crc32.Checksum(b[:minCRC], castagnoli)
	for n := minCRC; n <= maxCRC; n += 4 {
		if binary.LittleEndian.Uint32(b[n:]) == crc {
			return true
		}
		crc = crc32.Update(crc, castagnoli, b[n:n+4])
	}
	return false
}
