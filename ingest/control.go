package ingest

import (
	"encoding/binary"
	"fmt"

	"github.com/walhaven/walhaven/internal/pgdata"
	"github.com/walhaven/walhaven/redo"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// control is the contents of pg_control.
type control []byte

// parseControl takes a copy of pg_control, as long as a file or without the
// zeroes at its end.
func parseControl(b []byte) (control, error) { return pgdata.ControlContent(b) }

func (c control) systemID() wal.SystemID {
	return wal.SystemID(binary.LittleEndian.Uint64(c[pgdata.ControlSystemID:]))
}

// major is the version whose catalogs the cluster has. WAL may begin between two
// page headers, which would say.
func (c control) major() (int, error) {
	switch v := binary.LittleEndian.Uint32(c[pgdata.ControlCatalog:]); v {
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

func (c control) checkpoint() []byte {
	return c[pgdata.ControlCopy : pgdata.ControlCopy+pgdata.CheckPointSize]
}

func (c control) trackCommitTS() bool { return c[pgdata.ControlTrackCommitTS] != 0 }

func (c control) settings() redo.Options {
	return redo.Options{
		WALLogHints:   c[pgdata.ControlWALLogHints] != 0,
		DataChecksums: binary.LittleEndian.Uint32(c[pgdata.ControlChecksumVersion:]) != 0,
	}
}

// setCheckpoint enters a checkpoint record.
func (c control) setCheckpoint(start wal.LSN, checkpoint []byte) {
	copy(c[pgdata.ControlTime:pgdata.ControlTime+8], checkpoint[pgdata.CheckPointTime:])
	binary.LittleEndian.PutUint64(c[pgdata.ControlCheckPoint:], uint64(start))
	copy(c.checkpoint(), checkpoint)
	pgdata.SealControl(c)
}

// setParameters enters what XLOG/PARAMETER_CHANGE says: five numbers, then
// wal_level and two flags.
func (c control) setParameters(main []byte) error {
	b := walrecord.NewCursor(main)
	numbers, level, hints, track := b.Bytes(20), b.Bytes(4), b.U8(), b.U8()
	if b.Bad {
		return errTruncated
	}
	copy(c[pgdata.ControlMaxConnections:], numbers)
	copy(c[pgdata.ControlWALLevel:], level)
	c[pgdata.ControlWALLogHints], c[pgdata.ControlTrackCommitTS] = hints&1, track&1
	pgdata.SealControl(c)
	return nil
}
