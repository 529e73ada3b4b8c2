package pgdata

// Places in pg_control (ControlFileData in catalog/pg_control.h) that are the same
// from 14 to 18, in bytes.
const (
	ControlSystemID        = 0
	ControlVersion         = 8
	ControlCatalog         = 12
	ControlState           = 16
	ControlTime            = 24
	ControlCheckPoint      = 32
	ControlCopy            = 40 // of the last checkpoint
	ControlMinTLI          = 144
	ControlWALLevel        = 172
	ControlWALLogHints     = 176
	ControlMaxConnections  = 180
	ControlTrackCommitTS   = 200
	ControlBlockSize       = 216
	ControlRelSegBlocks    = 220
	ControlWALBlockSize    = 224
	ControlSegmentSize     = 228
	ControlChecksumVersion = 252 // of data pages

	controlCRC17 = 288 // up to version 17
	controlCRC18 = 292

	version14 = 1300 // pg_control_version
	version18 = 1800
	// maxControl is the size of the file (PG_CONTROL_FILE_SIZE).
	maxControl = 8192
)

// CheckPointSize is the size of CheckPoint (catalog/pg_control.h) in bytes.
const CheckPointSize = 88

// Places in CheckPoint, in bytes.
const (
	CheckPointRedo            = 0
	CheckPointTLI             = 8
	CheckPointPrevTLI         = 12
	CheckPointFullPageWrites  = 16
	CheckPointWALLevel        = 20 // from version 17 on
	CheckPointNextXID         = 24
	CheckPointNextOID         = 32
	CheckPointNextMulti       = 36
	CheckPointNextMultiOffset = 40
	CheckPointOldestXID       = 44
	CheckPointOldestXIDDB     = 48
	CheckPointOldestMulti     = 52
	CheckPointOldestMultiDB   = 56
	CheckPointTime            = 64
	CheckPointOldestCommitTS  = 72
	CheckPointNewestCommitTS  = 76
	CheckPointOldestActiveXID = 80
)
