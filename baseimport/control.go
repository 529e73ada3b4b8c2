package baseimport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/walhaven/walhaven/wal"
)

// Places in pg_control (ControlFileData) and CheckPoint, the same in 14 to 18.
const (
	controlSystemID  = 0
	controlVersion   = 8
	controlState     = 16
	controlCopy      = 40
	controlBlockSize = 216
	controlRelSeg    = 220
	controlWALBlock  = 224
	controlWALSeg    = 228
	controlCRC17     = 288 // up to version 17
	controlCRC18     = 292
	controlMax       = 8192

	checkpointSize = 88
	checkpointRedo = 0
	checkpointTLI  = 8
)

// stateShutDown is DB_SHUTDOWNED: the files are as of the checkpoint.
const stateShutDown = 1

// Control is what an import needs of pg_control.
type Control struct {
	SystemID    wal.SystemID
	Version     uint32 // pg_control_version
	SegmentSize wal.SegmentSize
	Redo        wal.LSN // of the last checkpoint
	TLI         wal.TLI
	ShutDown    bool // the server was stopped in an orderly way

	raw []byte // up to and with the CRC
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ParseControl reads pg_control. A wrong checksum may mean that it was read while
// the server wrote it.
func ParseControl(b []byte) (Control, error) {
	var c Control
	if len(b) < controlCRC18+4 || len(b) > controlMax {
		return c, fmt.Errorf("pg_control has %d bytes", len(b))
	}
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	c.Version = u32(controlVersion)
	end := controlCRC17
	if c.Version >= 1800 {
		end = controlCRC18
	}
	switch {
	case c.Version < 1300 || c.Version > 1800:
		return c, fmt.Errorf("pg_control is of version %d, which is not one of PostgreSQL 14 to 18", c.Version)
	case u32(end) != crc32.Checksum(b[:end], castagnoli):
		return c, errors.New("pg_control has a wrong checksum; take the backup again")
	case u32(controlBlockSize) != wal.BlockSize || u32(controlRelSeg) != relSegBlocks || u32(controlWALBlock) != wal.BlockSize:
		return c, errors.New("the server was built with other block or segment sizes than the default ones")
	}
	c.SystemID = wal.SystemID(binary.LittleEndian.Uint64(b[controlSystemID:]))
	c.SegmentSize = wal.SegmentSize(u32(controlWALSeg))
	c.Redo = wal.LSN(binary.LittleEndian.Uint64(b[controlCopy+checkpointRedo:]))
	c.TLI = wal.TLI(u32(controlCopy + checkpointTLI))
	c.ShutDown = u32(controlState) == stateShutDown
	c.raw = append([]byte(nil), b[:end+4]...)
	return c, nil
}
