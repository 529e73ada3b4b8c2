package walrecord

import (
	"fmt"

	"github.com/walhaven/walhaven/wal"
)

// MaxBlockID is the highest number of a block reference in a record
// (XLR_MAX_BLOCK_ID).
const MaxBlockID = 32

// Sub-header numbers above the block references
// (src/include/access/xlogrecord.h).
const (
	blockIDTopXID    = 252
	blockIDOrigin    = 253
	blockIDDataLong  = 254
	blockIDDataShort = 255
)

// Info bits that PostgreSQL keeps for itself; the rest is the resource
// manager's (XLR_INFO_MASK).
const (
	InfoSpecialRelUpdate = 0x01 // files change that no block reference names
	InfoCheckConsistency = 0x02 // images of the pages after the change are included
	infoMask             = 0x0F
)

// RelFile names a relation's files (RelFileNode, RelFileLocator).
type RelFile struct {
	Tablespace, Database, Relation uint32
}

func (r RelFile) String() string {
	return fmt.Sprintf("%d/%d/%d", r.Tablespace, r.Database, r.Relation)
}

// Fork is a fork of a relation (ForkNumber).
type Fork uint8

// Forks of src/include/common/relpath.h.
const (
	ForkMain Fork = iota
	ForkFSM
	ForkVM
	ForkInit
)

func (f Fork) String() string {
	switch f {
	case ForkMain:
		return "main"
	case ForkFSM:
		return "fsm"
	case ForkVM:
		return "vm"
	case ForkInit:
		return "init"
	}
	return fmt.Sprintf("fork%d", uint8(f))
}

// Compression is the method of a page image.
type Compression uint8

// Methods of compression: all but PGLZ from version 15 on.
const (
	CompressionNone Compression = iota
	CompressionPGLZ             // raw stream, without a size word
	CompressionLZ4              // block format
	CompressionZstd             // frame
	CompressionUnknown
)

func (c Compression) String() string {
	switch c {
	case CompressionNone:
		return "none"
	case CompressionPGLZ:
		return "pglz"
	case CompressionLZ4:
		return "lz4"
	case CompressionZstd:
		return "zstd"
	}
	return "unknown"
}

// Image is a page image as it is stored. The page is Data, decompressed to
// BlockSize - HoleLength bytes, with HoleLength zero bytes at HoleOffset.
//
// Guarantees after Decode:
//  1. HoleOffset + HoleLength <= BlockSize.
//  2. Without compression len(Data) = BlockSize - HoleLength.
type Image struct {
	Data        []byte
	HoleOffset  uint16
	HoleLength  uint16
	Info        uint8 // bimg_info as stored; its meaning depends on the version
	Compression Compression
	Apply       bool // redo restores it; otherwise it is there to check redo only
}

// Block is a block reference.
type Block struct {
	ID       uint8
	Rel      RelFile
	Fork     Fork
	Block    uint32
	WillInit bool // redo builds the page from nothing
	SameRel  bool // stored without the relation, as that of the reference before
	HasImage bool
	HasData  bool
	Image    Image
	Data     []byte // aliases the record

	imageLen, dataLen uint16 // while Decode has not reached the areas
}

// Record is a decoded record.
//
// Guarantees after Decode:
//  1. Blocks is in rising order of ID, at most MaxBlockID+1 long.
//  2. MainData and all block data and images are disjoint parts of the record.
type Record struct {
	// Major is the server's major version. The caller sets it; Decode reads it
	// (0 means the newest) and leaves it.
	Major int

	Start, End wal.LSN
	Length     uint32 // xl_tot_len
	XID        uint32
	Prev       wal.LSN
	Info       uint8 // xl_info, all bits
	RMID       RmgrID
	CRC        uint32

	HasOrigin bool
	Origin    uint16 // replication origin
	HasTopXID bool
	TopXID    uint32 // of the subtransaction XID

	Blocks   []Block
	MainData []byte
}

// Op is the part of Info that belongs to the resource manager.
func (r *Record) Op() uint8 { return r.Info &^ infoMask }

// FPILength is the number of bytes that page images take in the record.
func (r *Record) FPILength() uint32 {
	var n uint32
	for i := range r.Blocks {
		if r.Blocks[i].HasImage {
			n += uint32(len(r.Blocks[i].Image.Data))
		}
	}
	return n
}
