package walstore

// Named fail points: each is passed just before the store, fsync, rename or
// removal that it names, and the ".../done" ones just before a public call
// returns success. Between two points the disk does not change.
const (
	pointSegmentZero   = "walstore/segment/zero"   // zeroing a new segment or a cut tail
	pointSegmentCopy   = "walstore/segment/copy"   // copying into a new file
	pointSegmentWrite  = "walstore/segment/write"  // WAL as it arrives
	pointSegmentSync   = "walstore/segment/sync"   // fdatasync of a segment
	pointSegmentOpen   = "walstore/segment/open"   // prepared file takes its name
	pointSegmentSeal   = "walstore/segment/seal"   // complete segment loses .partial
	pointSegmentUnseal = "walstore/segment/unseal" // cut segment becomes .partial again
	pointSegmentSwap   = "walstore/segment/swap"   // rewritten file replaces its original
	pointSegmentRemove = "walstore/segment/remove"
	pointFolderSync    = "walstore/folder/sync"
	pointControlWrite  = "walstore/control/write"
	pointControlSync   = "walstore/control/sync"
	pointControlRename = "walstore/control/rename"
	pointHistoryWrite  = "walstore/history/write"
	pointHistorySync   = "walstore/history/sync"
	pointHistoryRename = "walstore/history/rename"
	pointFenceWrite    = "walstore/fence/write"
	pointFenceSync     = "walstore/fence/sync"
	pointFenceRemove   = "walstore/fence/remove"
	pointCreateRename  = "walstore/create/rename"
	pointAppendDone    = "walstore/append/done"
	pointSyncDone      = "walstore/sync/done"
	pointControlDone   = "walstore/control/done"
	pointTruncateDone  = "walstore/truncate/done"
	pointRemoveDone    = "walstore/remove/done"
	pointOpenDone      = "walstore/open/done"
)

// points lists them all, for tests that must have passed each.
var points = []string{
	pointSegmentZero, pointSegmentCopy, pointSegmentWrite, pointSegmentSync, pointSegmentOpen, pointSegmentSeal,
	pointSegmentUnseal, pointSegmentSwap, pointSegmentRemove, pointFolderSync, pointControlWrite, pointControlSync,
	pointControlRename, pointHistoryWrite, pointHistorySync, pointHistoryRename, pointFenceWrite, pointFenceSync,
	pointFenceRemove, pointCreateRename, pointAppendDone, pointSyncDone, pointControlDone, pointTruncateDone,
	pointRemoveDone, pointOpenDone,
}
