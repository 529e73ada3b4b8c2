package redo

import "github.com/walhaven/walhaven/wal/walrecord"

// managers is block redo by resource manager. Those that are missing have
// records without block references: their effects are on files, SLRUs and
// counters.
//
//nolint:exhaustive // See above.
var managers = [walrecord.RmgrLogicalMessage + 1]manager{
	walrecord.RmgrXLOG:     {}, // Images only.
	walrecord.RmgrHeap2:    {redo: redoHeap2},
	walrecord.RmgrHeap:     {redo: redoHeap},
	walrecord.RmgrBtree:    {redo: redoBtree},
	walrecord.RmgrHash:     {redo: redoHash, restored: restoredHash},
	walrecord.RmgrGin:      {redo: redoGin},
	walrecord.RmgrGist:     {redo: redoGist, restored: restoredGist},
	walrecord.RmgrSequence: {redo: redoSequence},
	walrecord.RmgrSPGist:   {redo: redoSPGist},
	walrecord.RmgrBRIN:     {redo: redoBRIN},
	walrecord.RmgrGeneric:  {redo: redoGeneric},
}
