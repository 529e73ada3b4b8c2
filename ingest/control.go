package ingest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/walhaven/walhaven/redo"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Places in pg_control (ControlFileData), the same in 14 to 18 up to the nonce.
const (
	controlSystemID      = 0
	controlVersion       = 8
	controlCatalog       = 12
	controlTime          = 24
	controlCheckpoint    = 32
	controlCopy          = 40
	controlWALLevel      = 172
	controlLogHints      = 176
	controlMaxConns      = 180
	controlTrackCommitTS = 200
	controlChecksums     = 252

	controlCRC17 = 288 // up to version 17
	controlCRC18 = 292
	version18    = 1800
)

// checkpointSize is the size of CheckPoint (src/include/catalog/pg_control.h).
const checkpointSize = 88

// Places in CheckPoint.
const (
	checkpointRedo            = 0
	checkpointTLI             = 8
	checkpointPrevTLI         = 12
	checkpointFullPageWrites  = 16
	checkpointWALLevel        = 20 // from version 17 on
	checkpointNextXID         = 24
	checkpointNextOID         = 32
	checkpointNextMulti       = 36
	checkpointNextMultiOffset = 40
	checkpointOldestXID       = 44
	checkpointOldestXIDDB     = 48
	checkpointOldestMulti     = 52
	checkpointOldestMultiDB   = 56
	checkpointTime            = 64
	checkpointOldestCommitTS  = 72
	checkpointNewestCommitTS  = 76
	checkpointOldestActiveXID = 80
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// control is the contents of pg_control.
type control []byte

// parseControl takes a copy of pg_control, as long as a file or without the
// zeroes at its end.
func parseControl(b []byte) (control, error) {
	if len(b) < controlCRC17+4 {
		return nil, errors.New("control file is too short")
	}
	version := binary.LittleEndian.Uint32(b[controlVersion:])
	end := controlCRC17
	if version >= version18 {
		end = controlCRC18
	}
	if len(b) < end+4 {
		return nil, errors.New("control file is too short")
	}
	c := control(append([]byte(nil), b[:end+4]...))
	if sum := binary.LittleEndian.Uint32(c[end:]); sum != crc32.Checksum(c[:end], castagnoli) {
		return nil, fmt.Errorf("control file of version %d has a wrong CRC", version)
	}
	return c, nil
}

func (c control) systemID() wal.SystemID {
	return wal.SystemID(binary.LittleEndian.Uint64(c[controlSystemID:]))
}

// major is the version whose catalogs the cluster has. WAL may begin between two
// page headers, which would say.
func (c control) major() (int, error) {
	switch v := binary.LittleEndian.Uint32(c[controlCatalog:]); v {
	case 202107181:
		return 14, nil
	case 202209061:
		return 15, nil
	case 202307071:
		return 16, nil
	case 202406281:
		return 17, nil
	case 202506291:
		return 18, nil
	default:
		return 0, fmt.Errorf("control file has catalog version %d, which no supported PostgreSQL has", v)
	}
}

func (c control) checkpoint() []byte { return c[controlCopy : controlCopy+checkpointSize] }

func (c control) trackCommitTS() bool { return c[controlTrackCommitTS] != 0 }

func (c control) settings() redo.Options {
	return redo.Options{
		WALLogHints:   c[controlLogHints] != 0,
		DataChecksums: binary.LittleEndian.Uint32(c[controlChecksums:]) != 0,
	}
}

// setCheckpoint enters a checkpoint record.
func (c control) setCheckpoint(start wal.LSN, checkpoint []byte) {
	copy(c[controlTime:controlTime+8], checkpoint[checkpointTime:])
	binary.LittleEndian.PutUint64(c[controlCheckpoint:], uint64(start))
	copy(c.checkpoint(), checkpoint)
	c.seal()
}

// setParameters enters what XLOG/PARAMETER_CHANGE says: five numbers, then
// wal_level and two flags.
func (c control) setParameters(main []byte) error {
	b := walrecord.NewCursor(main)
	numbers, level, hints, track := b.Bytes(20), b.Bytes(4), b.U8(), b.U8()
	if b.Bad {
		return errTruncated
	}
	copy(c[controlMaxConns:], numbers)
	copy(c[controlWALLevel:], level)
	c[controlLogHints], c[controlTrackCommitTS] = hints&1, track&1
	c.seal()
	return nil
}

func (c control) seal() {
	end := len(c) - 4
	binary.LittleEndian.PutUint32(c[end:], crc32.Checksum(c[:end], castagnoli))
}
