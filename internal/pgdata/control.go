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

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrControlChecksum says that pg_control is damaged, or was read while a server
// wrote it.
var ErrControlChecksum = errors.New("pg_control has a wrong checksum")

// ControlSize is how many bytes of pg_control of a version (pg_control_version) say
// something, with their checksum; 0 for versions other than those of 14 to 18.
func ControlSize(version uint32) int {
	switch {
	case version < version14 || version > version18:
		return 0
	case version == version18:
		return controlCRC18 + 4
	}
	return controlCRC17 + 4
}

// ControlContent returns a copy of what pg_control says, up to and with its checksum,
// which is right. b is the file, or as much of it.
func ControlContent(b []byte) ([]byte, error) {
	if len(b) < ControlVersion+4 || len(b) > maxControl {
		return nil, fmt.Errorf("pg_control has %d bytes", len(b))
	}
	version := binary.LittleEndian.Uint32(b[ControlVersion:])
	size := ControlSize(version)
	switch {
	case size == 0:
		return nil, fmt.Errorf("pg_control is of version %d, which is not one of PostgreSQL 14 to 18", version)
	case len(b) < size:
		return nil, fmt.Errorf("pg_control has %d bytes", len(b))
	}
	content := append([]byte(nil), b[:size]...)
	if binary.LittleEndian.Uint32(content[size-4:]) != controlChecksum(content) {
		return nil, ErrControlChecksum
	}
	return content, nil
}

// controlChecksum is what the last four bytes of the content should be.
func controlChecksum(content []byte) uint32 {
	return crc32.Checksum(content[:len(content)-4], castagnoli)
}

// SealControl enters the checksum of content that was changed.
func SealControl(content []byte) {
	binary.LittleEndian.PutUint32(content[len(content)-4:], controlChecksum(content))
}

// ParseControl reads the content of global/pg_control. The Control has a copy.
func ParseControl(b []byte) (Control, error) {
	raw, err := ControlContent(b)
	if err != nil {
		return Control{}, err
	}
	le := binary.LittleEndian
	checkPoint := raw[ControlCopy : ControlCopy+CheckPointSize]
	c := Control{
		SystemID: wal.SystemID(le.Uint64(raw[ControlSystemID:])), State: State(le.Uint32(raw[ControlState:])),
		Checkpoint:  wal.LSN(le.Uint64(raw[ControlCheckPoint:])),
		Redo:        wal.LSN(le.Uint64(checkPoint[CheckPointRedo:])),
		TLI:         wal.TLI(max(le.Uint32(checkPoint[CheckPointTLI:]), le.Uint32(raw[ControlMinTLI:]))),
		SegmentSize: wal.SegmentSize(le.Uint32(raw[ControlSegmentSize:])),
		BlockSize:   le.Uint32(raw[ControlBlockSize:]), RelSegBlocks: le.Uint32(raw[ControlRelSegBlocks:]),
		Raw: raw, CheckPoint: checkPoint,
	}
	switch {
	case c.SystemID == 0 || c.TLI == 0 || c.Redo == 0 || c.Redo > c.Checkpoint:
		return Control{}, fmt.Errorf("pg_control contradicts itself: system identifier %s, timeline %d, redo %s, checkpoint %s",
			c.SystemID, c.TLI, c.Redo, c.Checkpoint)
	case !c.SegmentSize.Valid() || le.Uint32(raw[ControlWALBlockSize:]) != wal.BlockSize:
		return Control{}, errors.New("the server was built with another WAL block size than the default one, or its segment size is none")
	}
	return c, nil
}
