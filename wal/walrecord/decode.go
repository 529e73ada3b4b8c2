package walrecord

import (
	"encoding/binary"

	"github.com/walhaven/walhaven/wal"
)

// Bits of a block reference's fork_flags.
const (
	forkMask     = 0x0F
	blockImage   = 0x10
	blockData    = 0x20
	blockInit    = 0x40
	blockSameRel = 0x80
)

// Bits of bimg_info.
const (
	imageHole    = 0x01
	imageApply   = 0x02 // 0x04 in version 14
	imagePGLZ    = 0x04 // 0x02 in version 14
	imageLZ4     = 0x08
	imageZstd    = 0x10
	imageApply14 = 0x04
	imagePGLZ14  = 0x02
)

// Decode takes apart the record that rec holds exactly. start and end are
// copied to r; r.Major chooses the version. r is reused: its slices of blocks
// are overwritten, its byte slices alias rec.
//
// The checksum and the back link are a [Scanner]'s business and not looked at.
// Errors are *[CorruptionError] at start; r is then of no use.
func Decode(rec []byte, start, end wal.LSN, r *Record) error {
	*r = Record{Major: r.Major, Blocks: r.Blocks[:0], Start: start, End: end}
	if len(rec) < RecordHeaderSize {
		return corrupt(start, "record of %d bytes is shorter than its header", len(rec))
	}
	r.Length = binary.LittleEndian.Uint32(rec)
	r.XID = binary.LittleEndian.Uint32(rec[4:])
	r.Prev = wal.LSN(binary.LittleEndian.Uint64(rec[8:]))
	r.Info = rec[16]
	r.RMID = RmgrID(rec[17])
	r.CRC = binary.LittleEndian.Uint32(rec[crcOffset:])
	if uint64(r.Length) != uint64(len(rec)) {
		return corrupt(start, "record says %d bytes, got %d", r.Length, len(rec))
	}
	d := decoder{start: start, rest: rec[RecordHeaderSize:], r: r}
	d.headers()
	d.areas()
	return d.err
}

// decoder walks through a record: first its sub-headers, which announce
// lengths, then the areas that have them.
type decoder struct {
	start     wal.LSN
	rest      []byte
	announced uint64 // sum of the lengths of all areas
	mainLen   uint32
	rel       RelFile // of the block reference before, if hasRel
	hasRel    bool
	r         *Record
	err       error
}

// take returns the next n bytes of the sub-headers, nil when they are not
// there. The caller stops on d.err.
func (d *decoder) take(n int) []byte {
	if d.err != nil {
		return nil
	}
	if n > len(d.rest) {
		d.fail("record ends inside its headers")
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = corrupt(d.start, format, args...)
	}
}

// headers reads sub-headers until the announced lengths account for the rest.
func (d *decoder) headers() {
	for d.err == nil && uint64(len(d.rest)) > d.announced {
		id := d.take(1)[0]
		switch {
		case id <= MaxBlockID:
			d.block(id)
		case id == blockIDDataShort:
			if b := d.take(1); b != nil {
				d.mainLen = uint32(b[0])
				d.announced += uint64(d.mainLen)
			}
			return // Main data is last by convention.
		case id == blockIDDataLong:
			if b := d.take(4); b != nil {
				d.mainLen = binary.LittleEndian.Uint32(b)
				d.announced += uint64(d.mainLen)
			}
			return
		case id == blockIDOrigin:
			if b := d.take(2); b != nil {
				d.r.HasOrigin, d.r.Origin = true, binary.LittleEndian.Uint16(b)
			}
		case id == blockIDTopXID:
			if b := d.take(4); b != nil {
				d.r.HasTopXID, d.r.TopXID = true, binary.LittleEndian.Uint32(b)
			}
		default:
			d.fail("record has an unknown sub-header %d", id)
		}
	}
}

// block reads a block reference.
func (d *decoder) block(id uint8) {
	blocks := d.r.Blocks
	if n := len(blocks); n > 0 && id <= blocks[n-1].ID {
		d.fail("block reference %d after %d", id, blocks[n-1].ID)
		return
	}
	b := d.take(3)
	if b == nil {
		return
	}
	flags, dataLen := b[0], binary.LittleEndian.Uint16(b[1:])
	blocks = append(blocks, Block{
		ID: id, Fork: Fork(flags & forkMask), WillInit: flags&blockInit != 0,
		SameRel: flags&blockSameRel != 0, HasImage: flags&blockImage != 0, HasData: flags&blockData != 0,
	})
	d.r.Blocks = blocks
	blk := &blocks[len(blocks)-1]
	if blk.HasData != (dataLen > 0) {
		d.fail("block reference %d has flags %02X and %d bytes of data", id, flags, dataLen)
		return
	}
	if blk.Fork > ForkInit {
		d.fail("block reference %d names fork %d", id, blk.Fork)
		return
	}
	blk.dataLen = dataLen
	if blk.HasImage {
		blk.imageLen = d.image(blk)
	}
	d.announced += uint64(blk.imageLen) + uint64(dataLen)
	d.location(blk)
}

// location reads what a block reference says of the relation and block number.
func (d *decoder) location(blk *Block) {
	if blk.SameRel {
		if !d.hasRel {
			d.fail("block reference %d repeats a relation that none named before", blk.ID)
			return
		}
		blk.Rel = d.rel
		if b := d.take(4); b != nil {
			blk.Block = binary.LittleEndian.Uint32(b)
		}
		return
	}
	b := d.take(16)
	if b == nil {
		return
	}
	blk.Rel = RelFile{
		Tablespace: binary.LittleEndian.Uint32(b),
		Database:   binary.LittleEndian.Uint32(b[4:]),
		Relation:   binary.LittleEndian.Uint32(b[8:]),
	}
	blk.Block = binary.LittleEndian.Uint32(b[12:])
	d.rel, d.hasRel = blk.Rel, true
}

// image reads an image header and returns the length of the image.
func (d *decoder) image(blk *Block) uint16 {
	b := d.take(5)
	if b == nil {
		return 0
	}
	length := binary.LittleEndian.Uint16(b)
	img := &blk.Image
	img.HoleOffset = binary.LittleEndian.Uint16(b[2:])
	img.Info = b[4]
	img.Apply, img.Compression = imageInfo(d.r.Major, img.Info)

	hole := img.Info&imageHole != 0
	switch {
	case img.Compression == CompressionNone:
		if length > wal.BlockSize {
			d.fail("image of block reference %d has %d bytes", blk.ID, length)
			return 0
		}
		img.HoleLength = wal.BlockSize - length
	case hole:
		if b := d.take(2); b != nil {
			img.HoleLength = binary.LittleEndian.Uint16(b)
		}
	}
	d.checkImage(blk, length, hole)
	return length
}

// checkImage applies DecodeXLogRecord's cross-checks of an image header.
func (d *decoder) checkImage(blk *Block, length uint16, hole bool) {
	img := &blk.Image
	compressed := img.Compression != CompressionNone
	switch {
	case hole && (img.HoleOffset == 0 || img.HoleLength == 0 || length == wal.BlockSize),
		!hole && (img.HoleOffset != 0 || img.HoleLength != 0),
		compressed && length >= wal.BlockSize,
		int(img.HoleOffset)+int(img.HoleLength) > wal.BlockSize:
		d.fail("image of block reference %d contradicts itself: %d bytes, hole of %d at %d, info %02X",
			blk.ID, length, img.HoleLength, img.HoleOffset, img.Info)
	}
}

// imageInfo reads the version's meaning of bimg_info.
func imageInfo(major int, info uint8) (apply bool, c Compression) {
	if major == 14 {
		if info&imagePGLZ14 != 0 {
			c = CompressionPGLZ
		}
		return info&imageApply14 != 0, c
	}
	switch info & (imagePGLZ | imageLZ4 | imageZstd) {
	case 0:
		c = CompressionNone
	case imagePGLZ:
		c = CompressionPGLZ
	case imageLZ4:
		c = CompressionLZ4
	case imageZstd:
		c = CompressionZstd
	default:
		c = CompressionUnknown
	}
	return info&imageApply != 0, c
}

// areas cuts the rest into what the sub-headers announced.
func (d *decoder) areas() {
	if d.err != nil {
		return
	}
	if uint64(len(d.rest)) != d.announced {
		d.fail("record announces %d bytes of data and has %d", d.announced, len(d.rest))
		return
	}
	for i := range d.r.Blocks {
		blk := &d.r.Blocks[i]
		if blk.HasImage {
			blk.Image.Data = d.take(int(blk.imageLen))
		}
		if blk.HasData {
			blk.Data = d.take(int(blk.dataLen))
		}
	}
	d.r.MainData = d.take(int(d.mainLen))
}
