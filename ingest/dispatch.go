package ingest

import (
	"encoding/binary"

	"github.com/walhaven/walhaven/wal/walrecord"
)

// Operations of resource manager XLOG (src/include/catalog/pg_control.h).
const (
	xlogCheckpointShutdown  = 0x00
	xlogCheckpointOnline    = 0x10
	xlogNextOID             = 0x30
	xlogParameterChange     = 0x60
	xlogRestorePoint        = 0x70
	xlogFPWChange           = 0x80
	xlogEndOfRecovery       = 0x90
	xlogOverwriteContrecord = 0xD0
)

// standsAlone says of a record's bytes that everything before it must have been
// put, and that what follows must wait for it: it changes how records are taken
// apart, or copies what was put.
func standsAlone(rec []byte) bool {
	switch walrecord.RmgrID(rec[17]) {
	case walrecord.RmgrXLOG:
		return rec[16]&0xF0 == xlogParameterChange
	case walrecord.RmgrDatabase:
		return true
	}
	return false
}

// totalOf is xl_tot_len.
func totalOf(rec []byte) int { return int(binary.LittleEndian.Uint32(rec)) }

func xidOf(rec []byte) uint32 { return binary.LittleEndian.Uint32(rec[4:]) }

// needsOrder says of a record that it does more than change the blocks that it
// references, which depends on what came before.
func needsOrder(r *walrecord.Record) bool {
	switch r.RMID {
	case walrecord.RmgrTransaction, walrecord.RmgrStorage, walrecord.RmgrCLOG, walrecord.RmgrDatabase,
		walrecord.RmgrTablespace, walrecord.RmgrMultiXact, walrecord.RmgrRelMap, walrecord.RmgrCommitTs,
		walrecord.RmgrReplicationOrigin:
		return true
	case walrecord.RmgrXLOG:
		switch r.Op() {
		case xlogCheckpointShutdown, xlogCheckpointOnline, xlogNextOID, xlogParameterChange, xlogRestorePoint,
			xlogFPWChange, xlogEndOfRecovery, xlogOverwriteContrecord:
			return true
		}
	case walrecord.RmgrStandby:
		return r.Op() == standbyRunningXacts
	case walrecord.RmgrHeap:
		return r.Info&0x70 == heapTruncate
	}
	return false
}

const (
	standbyRunningXacts = 0x10
	heapTruncate        = 0x30
)

// apply makes the changes of a record for which needsOrder. Changes of blocks
// that it references have been made.
func (in *Ingester) apply(r *walrecord.Record) error {
	switch r.RMID {
	case walrecord.RmgrXLOG:
		return in.xlog(r)
	case walrecord.RmgrTransaction:
		return in.transaction(r)
	case walrecord.RmgrStorage:
		return in.storage(r)
	case walrecord.RmgrCLOG:
		return in.clog(r)
	case walrecord.RmgrCommitTs:
		return in.commitTS(r)
	case walrecord.RmgrMultiXact:
		return in.multiXact(r)
	case walrecord.RmgrDatabase:
		return in.database(r)
	case walrecord.RmgrTablespace:
		return in.tablespace(r)
	case walrecord.RmgrRelMap:
		return in.relMap(r)
	case walrecord.RmgrStandby:
		return in.runningXacts(r)
	case walrecord.RmgrReplicationOrigin:
		return in.origin(r)
	case walrecord.RmgrHeap:
		return in.eventTruncate(r)
	}
	return nil
}
