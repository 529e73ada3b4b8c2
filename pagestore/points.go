package pagestore

// Named fail points: each is passed just before the store, fsync, link, rename
// or removal that it names, and the ".../done" ones just before a public call
// returns success.
const (
	pointLayerWrite   = "pagestore/layer/write"
	pointLayerSync    = "pagestore/layer/sync"
	pointLayerRemove  = "pagestore/layer/remove"
	pointFolderSync   = "pagestore/folder/sync"
	pointIndexWrite   = "pagestore/index/write"
	pointIndexSync    = "pagestore/index/sync"
	pointIndexLink    = "pagestore/index/link"
	pointIndexRemove  = "pagestore/index/remove"
	pointCreateRename = "pagestore/create/rename"
	pointDeleteRename = "pagestore/delete/rename"
	pointFlushDone    = "pagestore/flush/done"
	pointCompactDone  = "pagestore/compact/done"
	pointPinDone      = "pagestore/pin/done"
	pointBranchDone   = "pagestore/branch/done"
	pointCollectDone  = "pagestore/collect/done"
	pointOpenDone     = "pagestore/open/done"
)

// points lists them all, for tests that must have passed each.
var points = []string{
	pointLayerWrite, pointLayerSync, pointLayerRemove, pointFolderSync, pointIndexWrite, pointIndexSync, pointIndexLink,
	pointIndexRemove, pointCreateRename, pointDeleteRename, pointFlushDone, pointCompactDone, pointPinDone,
	pointBranchDone, pointCollectDone, pointOpenDone,
}
