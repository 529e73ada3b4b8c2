package walrecord

import (
	"bytes"
	"encoding/binary"
	"strconv"

	"github.com/walhaven/walhaven/wal"
)

// appendDetail adds, after a space, what main data says in the operations that
// an operator searches for: where a transaction ended and when, checkpoints,
// restore points, files that come. Main data that is too short says nothing.
func appendDetail(dst []byte, r *Record) []byte {
	d := r.MainData
	switch r.RMID {
	case RmgrXLOG:
		return appendXLOGDetail(dst, r.Op(), d)
	case RmgrTransaction:
		if op := r.Op() & 0x70; (op == 0x00 || op == 0x20 || op == 0x30 || op == 0x40) && len(d) >= 8 {
			dst = append(dst, ' ')
			dst = appendTime(dst, wal.Timestamp(binary.LittleEndian.Uint64(d)))
		}
	case RmgrStorage:
		return appendStorageDetail(dst, r.Op(), d)
	}
	return dst
}

func appendXLOGDetail(dst []byte, op uint8, d []byte) []byte {
	switch {
	case op <= 0x10 && len(d) >= 16: // CheckPoint
		dst = append(dst, " redo "...)
		dst = append(dst, wal.LSN(binary.LittleEndian.Uint64(d)).String()...)
		dst = append(dst, "; tli "...)
		dst = strconv.AppendUint(dst, uint64(binary.LittleEndian.Uint32(d[8:])), 10)
		dst = append(dst, "; prev tli "...)
		dst = strconv.AppendUint(dst, uint64(binary.LittleEndian.Uint32(d[12:])), 10)
	case op == 0x30 && len(d) >= 4: // NEXTOID
		dst = append(dst, ' ')
		dst = strconv.AppendUint(dst, uint64(binary.LittleEndian.Uint32(d)), 10)
	case op == 0x50 && len(d) >= 8: // BACKUP_END
		dst = append(dst, ' ')
		dst = append(dst, wal.LSN(binary.LittleEndian.Uint64(d)).String()...)
	case op == 0x70 && len(d) > 8: // RESTORE_POINT
		name, _, _ := bytes.Cut(d[8:], []byte{0})
		dst = append(dst, ' ')
		dst = append(dst, name...)
	case op == 0x90 && len(d) >= 16: // END_OF_RECOVERY
		dst = append(dst, " tli "...)
		dst = strconv.AppendUint(dst, uint64(binary.LittleEndian.Uint32(d[8:])), 10)
		dst = append(dst, "; prev tli "...)
		dst = strconv.AppendUint(dst, uint64(binary.LittleEndian.Uint32(d[12:])), 10)
		dst = append(dst, "; time "...)
		dst = appendTime(dst, wal.Timestamp(binary.LittleEndian.Uint64(d)))
	case op == infoOverwrite && len(d) >= 16:
		dst = append(dst, " lsn "...)
		dst = append(dst, wal.LSN(binary.LittleEndian.Uint64(d)).String()...)
		dst = append(dst, "; time "...)
		dst = appendTime(dst, wal.Timestamp(binary.LittleEndian.Uint64(d[8:])))
	}
	return dst
}

func appendStorageDetail(dst []byte, op uint8, d []byte) []byte {
	relFile := func(b []byte) RelFile {
		return RelFile{
			Tablespace: binary.LittleEndian.Uint32(b),
			Database:   binary.LittleEndian.Uint32(b[4:]),
			Relation:   binary.LittleEndian.Uint32(b[8:]),
		}
	}
	switch {
	case op == 0x10 && len(d) >= 16:
		dst = append(dst, " rel "...)
		dst = appendRelFile(dst, relFile(d))
		if fork := Fork(min(binary.LittleEndian.Uint32(d[12:]), 0xFF)); fork != ForkMain {
			dst = append(dst, " fork "...)
			dst = append(dst, fork.String()...)
		}
	case op == 0x20 && len(d) >= 16:
		dst = append(dst, " rel "...)
		dst = appendRelFile(dst, relFile(d[4:]))
		dst = append(dst, " to "...)
		dst = strconv.AppendUint(dst, uint64(binary.LittleEndian.Uint32(d)), 10)
		dst = append(dst, " blocks"...)
	}
	return dst
}

// appendTime adds a time in UTC, whatever the machine's zone is.
func appendTime(dst []byte, t wal.Timestamp) []byte {
	return t.Time().AppendFormat(dst, "2006-01-02 15:04:05.000000 UTC")
}
