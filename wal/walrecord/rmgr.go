package walrecord

import "fmt"

// RmgrID is a resource manager's number (RmgrId).
type RmgrID uint8

// Built-in resource managers of src/include/access/rmgrlist.h, the same in all
// supported versions.
const (
	RmgrXLOG RmgrID = iota
	RmgrTransaction
	RmgrStorage
	RmgrCLOG
	RmgrDatabase
	RmgrTablespace
	RmgrMultiXact
	RmgrRelMap
	RmgrStandby
	RmgrHeap2
	RmgrHeap
	RmgrBtree
	RmgrHash
	RmgrGin
	RmgrGist
	RmgrSequence
	RmgrSPGist
	RmgrBRIN
	RmgrCommitTs
	RmgrReplicationOrigin
	RmgrGeneric
	RmgrLogicalMessage
)

const (
	maxBuiltinRmgr = byte(RmgrLogicalMessage)
	minCustomRmgr  = 128 // RM_MIN_CUSTOM_ID, from version 15 on
)

var rmgrNames = [...]string{
	"XLOG", "Transaction", "Storage", "CLOG", "Database", "Tablespace",
	"MultiXact", "RelMap", "Standby", "Heap2", "Heap", "Btree", "Hash", "Gin",
	"Gist", "Sequence", "SPGist", "BRIN", "CommitTs", "ReplicationOrigin",
	"Generic", "LogicalMessage",
}

// RmgrName is the name that pg_waldump prints: custom123 for a custom resource
// manager, whose name only its server knows.
func RmgrName(id RmgrID) string {
	switch {
	case int(id) < len(rmgrNames):
		return rmgrNames[id]
	case id >= minCustomRmgr:
		return fmt.Sprintf("custom%03d", uint8(id))
	}
	return fmt.Sprintf("unknown%03d", uint8(id))
}

func (id RmgrID) String() string { return RmgrName(id) }
