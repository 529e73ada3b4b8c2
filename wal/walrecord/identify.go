package walrecord

import (
	"slices"
	"strconv"
)

// opName is the name of one operation. first and last bound the major versions
// that have it; zero means all.
type opName struct {
	op          uint8
	name        string
	first, last int
}

// opTable is what a resource manager's identify function in
// src/backend/access/rmgrdesc knows.
type opTable struct {
	mask uint8 // of the info bits that choose the operation
	ops  []opName
}

var opTables = [...]opTable{
	RmgrXLOG: {mask: 0xF0, ops: []opName{
		{op: 0x00, name: "CHECKPOINT_SHUTDOWN"},
		{op: 0x10, name: "CHECKPOINT_ONLINE"},
		{op: 0x20, name: "NOOP"},
		{op: 0x30, name: "NEXTOID"},
		{op: infoSwitch, name: "SWITCH"},
		{op: 0x50, name: "BACKUP_END"},
		{op: 0x60, name: "PARAMETER_CHANGE"},
		{op: 0x70, name: "RESTORE_POINT"},
		{op: 0x80, name: "FPW_CHANGE"},
		{op: 0x90, name: "END_OF_RECOVERY"},
		{op: 0xA0, name: "FPI_FOR_HINT"},
		{op: 0xB0, name: "FPI"},
		{op: infoOverwrite, name: "OVERWRITE_CONTRECORD"},
		{op: 0xE0, name: "CHECKPOINT_REDO", first: 17},
	}},
	RmgrTransaction: {mask: 0x70, ops: []opName{
		{op: 0x00, name: "COMMIT"},
		{op: 0x10, name: "PREPARE"},
		{op: 0x20, name: "ABORT"},
		{op: 0x30, name: "COMMIT_PREPARED"},
		{op: 0x40, name: "ABORT_PREPARED"},
		{op: 0x50, name: "ASSIGNMENT"},
		{op: 0x60, name: "INVALIDATION"},
	}},
	RmgrStorage: {mask: 0xF0, ops: []opName{{op: 0x10, name: "CREATE"}, {op: 0x20, name: "TRUNCATE"}}},
	RmgrCLOG:    {mask: 0xF0, ops: []opName{{op: 0x00, name: "ZEROPAGE"}, {op: 0x10, name: "TRUNCATE"}}},
	RmgrDatabase: {mask: 0xF0, ops: []opName{
		{op: 0x00, name: "CREATE", last: 14},
		{op: 0x10, name: "DROP", last: 14},
		{op: 0x00, name: "CREATE_FILE_COPY", first: 15},
		{op: 0x10, name: "CREATE_WAL_LOG", first: 15},
		{op: 0x20, name: "DROP", first: 15},
	}},
	RmgrTablespace: {mask: 0xF0, ops: []opName{{op: 0x00, name: "CREATE"}, {op: 0x10, name: "DROP"}}},
	RmgrMultiXact: {mask: 0xF0, ops: []opName{
		{op: 0x00, name: "ZERO_OFF_PAGE"},
		{op: 0x10, name: "ZERO_MEM_PAGE"},
		{op: 0x20, name: "CREATE_ID"},
		{op: 0x30, name: "TRUNCATE_ID"},
	}},
	RmgrRelMap: {mask: 0xF0, ops: []opName{{op: 0x00, name: "UPDATE"}}},
	RmgrStandby: {mask: 0xF0, ops: []opName{
		{op: 0x00, name: "LOCK"}, {op: 0x10, name: "RUNNING_XACTS"}, {op: 0x20, name: "INVALIDATIONS"},
	}},
	RmgrHeap2: {mask: 0xF0, ops: []opName{
		{op: 0x00, name: "REWRITE"},
		{op: 0x10, name: "PRUNE", last: 16},
		{op: 0x20, name: "VACUUM", last: 16},
		{op: 0x30, name: "FREEZE_PAGE", last: 16},
		{op: 0x10, name: "PRUNE_ON_ACCESS", first: 17},
		{op: 0x20, name: "PRUNE_VACUUM_SCAN", first: 17},
		{op: 0x30, name: "PRUNE_VACUUM_CLEANUP", first: 17},
		{op: 0x40, name: "VISIBLE"},
		{op: 0x50, name: "MULTI_INSERT"},
		{op: 0xD0, name: "MULTI_INSERT+INIT"},
		{op: 0x60, name: "LOCK_UPDATED"},
		{op: 0x70, name: "NEW_CID"},
	}},
	RmgrHeap: {mask: 0xF0, ops: []opName{
		{op: 0x00, name: "INSERT"},
		{op: 0x80, name: "INSERT+INIT"},
		{op: 0x10, name: "DELETE"},
		{op: 0x20, name: "UPDATE"},
		{op: 0xA0, name: "UPDATE+INIT"},
		{op: 0x40, name: "HOT_UPDATE"},
		{op: 0xC0, name: "HOT_UPDATE+INIT"},
		{op: 0x30, name: "TRUNCATE"},
		{op: 0x50, name: "HEAP_CONFIRM"},
		{op: 0x60, name: "LOCK"},
		{op: 0x70, name: "INPLACE"},
	}},
	RmgrBtree: {mask: 0xF0, ops: []opName{
		{op: 0x00, name: "INSERT_LEAF"},
		{op: 0x10, name: "INSERT_UPPER"},
		{op: 0x20, name: "INSERT_META"},
		{op: 0x30, name: "SPLIT_L"},
		{op: 0x40, name: "SPLIT_R"},
		{op: 0x50, name: "INSERT_POST"},
		{op: 0x60, name: "DEDUP"},
		{op: 0x70, name: "DELETE"},
		{op: 0x80, name: "UNLINK_PAGE"},
		{op: 0x90, name: "UNLINK_PAGE_META"},
		{op: 0xA0, name: "NEWROOT"},
		{op: 0xB0, name: "MARK_PAGE_HALFDEAD"},
		{op: 0xC0, name: "VACUUM"},
		{op: 0xD0, name: "REUSE_PAGE"},
		{op: 0xE0, name: "META_CLEANUP"},
	}},
	RmgrHash: {mask: 0xF0, ops: []opName{
		{op: 0x00, name: "INIT_META_PAGE"},
		{op: 0x10, name: "INIT_BITMAP_PAGE"},
		{op: 0x20, name: "INSERT"},
		{op: 0x30, name: "ADD_OVFL_PAGE"},
		{op: 0x40, name: "SPLIT_ALLOCATE_PAGE"},
		{op: 0x50, name: "SPLIT_PAGE"},
		{op: 0x60, name: "SPLIT_COMPLETE"},
		{op: 0x70, name: "MOVE_PAGE_CONTENTS"},
		{op: 0x80, name: "SQUEEZE_PAGE"},
		{op: 0x90, name: "DELETE"},
		{op: 0xA0, name: "SPLIT_CLEANUP"},
		{op: 0xB0, name: "UPDATE_META_PAGE"},
		{op: 0xC0, name: "VACUUM_ONE_PAGE"},
	}},
	RmgrGin: {mask: 0xF0, ops: []opName{
		{op: 0x10, name: "CREATE_PTREE"},
		{op: 0x20, name: "INSERT"},
		{op: 0x30, name: "SPLIT"},
		{op: 0x40, name: "VACUUM_PAGE"},
		{op: 0x50, name: "DELETE_PAGE"},
		{op: 0x60, name: "UPDATE_META_PAGE"},
		{op: 0x70, name: "INSERT_LISTPAGE"},
		{op: 0x80, name: "DELETE_LISTPAGE"},
		{op: 0x90, name: "VACUUM_DATA_LEAF_PAGE"},
	}},
	RmgrGist: {mask: 0xF0, ops: []opName{
		{op: 0x00, name: "PAGE_UPDATE"},
		{op: 0x10, name: "DELETE"},
		{op: 0x20, name: "PAGE_REUSE"},
		{op: 0x30, name: "PAGE_SPLIT"},
		{op: 0x60, name: "PAGE_DELETE"},
		{op: 0x70, name: "ASSIGN_LSN"},
	}},
	RmgrSequence: {mask: 0xF0, ops: []opName{{op: 0x00, name: "LOG"}}},
	RmgrSPGist: {mask: 0xF0, ops: []opName{
		{op: 0x10, name: "ADD_LEAF"},
		{op: 0x20, name: "MOVE_LEAFS"},
		{op: 0x30, name: "ADD_NODE"},
		{op: 0x40, name: "SPLIT_TUPLE"},
		{op: 0x50, name: "PICKSPLIT"},
		{op: 0x60, name: "VACUUM_LEAF"},
		{op: 0x70, name: "VACUUM_ROOT"},
		{op: 0x80, name: "VACUUM_REDIRECT"},
	}},
	RmgrBRIN: {mask: 0xF0, ops: []opName{
		{op: 0x00, name: "CREATE_INDEX"},
		{op: 0x10, name: "INSERT"},
		{op: 0x90, name: "INSERT+INIT"},
		{op: 0x20, name: "UPDATE"},
		{op: 0xA0, name: "UPDATE+INIT"},
		{op: 0x30, name: "SAMEPAGE_UPDATE"},
		{op: 0x40, name: "REVMAP_EXTEND"},
		{op: 0x50, name: "DESUMMARIZE"},
	}},
	RmgrCommitTs:          {mask: 0xF0, ops: []opName{{op: 0x00, name: "ZEROPAGE"}, {op: 0x10, name: "TRUNCATE"}}},
	RmgrReplicationOrigin: {mask: 0xF0, ops: []opName{{op: 0x00, name: "SET"}, {op: 0x10, name: "DROP"}}},
	RmgrLogicalMessage:    {mask: 0xF0, ops: []opName{{op: 0x00, name: "MESSAGE"}}},
}

// opNames is opTables by resource manager, major version and high nibble of
// info, so that a look-up is one load.
var opNames = buildOpNames()

type versionedNames [maxMajor - minMajor + 1][16]string

func buildOpNames() (names [len(rmgrNames)]versionedNames) {
	for id, t := range opTables {
		for major := minMajor; major <= maxMajor; major++ {
			for _, o := range t.ops {
				if major >= o.first && (o.last == 0 || major <= o.last) {
					fillOp(&names[id][major-minMajor], t.mask, o)
				}
			}
		}
	}
	// The Generic manager has one kind of record and ignores info.
	for v := range names[RmgrGeneric] {
		for i := range names[RmgrGeneric][v] {
			names[RmgrGeneric][v][i] = "Generic"
		}
	}
	return names
}

func fillOp(names *[16]string, mask uint8, o opName) {
	for i := range names {
		if uint8(i<<4)&mask == o.op {
			names[i] = o.name
		}
	}
}

// Identify returns the name that pg_waldump prints for the record's operation,
// as UNKNOWN (f0) for one that r's version does not have. r.Major 0 means the
// newest version.
func Identify(r *Record) string {
	if int(r.RMID) < len(opNames) {
		major := r.Major
		if major < minMajor || major > maxMajor {
			major = maxMajor
		}
		if name := opNames[r.RMID][major-minMajor][r.Info>>4]; name != "" {
			return name
		}
	}
	return "UNKNOWN (" + strconv.FormatUint(uint64(r.Op()), 16) + ")"
}

// Kind is the name of the record's kind: its resource manager and operation.
func Kind(r *Record) string { return r.RMID.String() + "/" + Identify(r) }

// Kinds lists the kinds of record of a version, in the order of their numbers.
func Kinds(major int) (all []string) {
	for id := RmgrXLOG; id <= RmgrLogicalMessage; id++ {
		for op := 0; op < 0x100; op += 0x10 {
			r := Record{Major: major, RMID: id, Info: uint8(op)}
			if kind := Kind(&r); opNames[id][major-minMajor][op>>4] != "" && !slices.Contains(all, kind) {
				all = append(all, kind)
			}
		}
	}
	return all
}
