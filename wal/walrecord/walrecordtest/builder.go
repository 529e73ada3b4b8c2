package walrecordtest

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/walhaven/walhaven/wal"
)

// Sizes in bytes, and numbers of resource managers.
const (
	headerSize         = 24 // of a record
	shortPage          = 24
	longPage           = 40
	rmgrXLOG           = 0
	rmgrLogicalMessage = 21
)

// magics are the page magics of versions 14 to 18.
var magics = map[int]uint16{14: 0xD10D, 15: 0xD110, 16: 0xD113, 17: 0xD116, 18: 0xD118}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Options says what WAL to make. Zero fields have usable defaults.
type Options struct {
	Start       wal.LSN         // a page start; default: the second segment
	SegmentSize wal.SegmentSize // default: the smallest, 1 MiB
	Major       int             // default: 18
	SystemID    wal.SystemID    // default: SystemID
	TLI         wal.TLI         // default: 1
}

// SystemID is the cluster that WAL is made for unless Options say otherwise.
const SystemID wal.SystemID = 7_400_000_000_000_000_001

// Builder makes WAL in memory, from Options.Start on.
type Builder struct {
	opts  Options
	bytes []byte
	prev  wal.LSN // start of the last record
	rest  uint32  // bytes of the record that is being written
	lost  bool    // the next page replaces a lost continuation
}

// New begins with an empty log. The first record links to the position before
// Start, as if one had been there.
func New(o Options) *Builder {
	if o.SegmentSize == 0 {
		o.SegmentSize = wal.MinSegmentSize
	}
	if o.Start == 0 {
		o.Start = wal.LSN(o.SegmentSize)
	}
	if o.Major == 0 {
		o.Major = 18
	}
	if o.SystemID == 0 {
		o.SystemID = SystemID
	}
	if o.TLI == 0 {
		o.TLI = 1
	}
	if o.Start != o.Start.PageStart() {
		panic(fmt.Sprintf("walrecordtest: %s is not a page start", o.Start))
	}
	return &Builder{opts: o, prev: o.Start - 8}
}

// Start is the position of the first byte.
func (b *Builder) Start() wal.LSN { return b.opts.Start }

// Position is the position after the last byte.
func (b *Builder) Position() wal.LSN { return b.opts.Start + wal.LSN(len(b.bytes)) }

// Bytes is all that was made, from Start to Position. The caller may change it;
// the next call of a method that writes may move it.
func (b *Builder) Bytes() []byte { return b.bytes }

// Room is the number of bytes left on the page, a whole page's payload at its
// start.
func (b *Builder) Room() int {
	if page := b.Position().PageStart(); page != b.Position() {
		return int(page + wal.BlockSize - b.Position())
	}
	return wal.BlockSize - b.pageHeaderSize(b.Position())
}

func (b *Builder) pageHeaderSize(page wal.LSN) int {
	if b.opts.SegmentSize.Offset(page) == 0 {
		return longPage
	}
	return shortPage
}

// Record writes a record whose bytes after the header are payload, sub-headers
// included, and its padding. end is PostgreSQL's EndRecPtr.
func (b *Builder) Record(rmid uint8, info uint8, xid uint32, payload []byte) (start, end wal.LSN) {
	start, rec := b.begin(rmid, info, xid, payload)
	b.write(rec)
	return start, b.end()
}

// Message writes a logical message record of total bytes in all, at least 26.
func (b *Builder) Message(total int) (start, end wal.LSN) {
	return b.Record(rmgrLogicalMessage, 0, 0, MainData(total-headerSize))
}

// MainData is a payload of n bytes with nothing but main data, n at least 2.
func MainData(n int) []byte {
	var p []byte
	if n-2 <= 0xFF {
		p = []byte{255, byte(n - 2)}
	} else {
		p = binary.LittleEndian.AppendUint32([]byte{254}, uint32(n-5))
	}
	for i := len(p); i < n; i++ {
		p = append(p, byte(i*7+1))
	}
	return p
}

// Switch writes XLOG_SWITCH and zeros up to the end of the segment.
func (b *Builder) Switch() (start, end wal.LSN) {
	start, end = b.Record(rmgrXLOG, 0x40, 0, nil)
	if off := b.opts.SegmentSize.Offset(end); off != 0 {
		b.bytes = append(b.bytes, make([]byte, int(b.opts.SegmentSize)-int(off))...)
	}
	return start, b.Position()
}

// Cut writes a message of total bytes, of which only those up to the next page
// start arrive, pages+1 pages if pages is not 0; then what recovery leaves: a
// page that says so and the record OVERWRITE_CONTRECORD. It returns the start
// of the record that was lost and the end of the one that replaces it.
func (b *Builder) Cut(total, pages int) (lost, end wal.LSN) {
	prev := b.prev
	lost, rec := b.begin(rmgrLogicalMessage, 0, 0, MainData(total-headerSize))
	n := b.Room() + pages*(wal.BlockSize-shortPage)
	if n >= len(rec) {
		panic("walrecordtest: the record to cut is not longer than what stays of it")
	}
	b.write(rec[:n])
	if b.Position() != b.Position().PageStart() {
		panic("walrecordtest: a record cannot be cut on a segment's first page")
	}
	b.rest, b.lost, b.prev = 0, true, prev

	main := binary.LittleEndian.AppendUint64([]byte{255, 16}, uint64(lost))
	main = append(main, make([]byte, 8)...)
	_, end = b.Record(rmgrXLOG, 0xD0, 0, main)
	return lost, end
}

// SetTLI makes the pages that begin from here on belong to a later timeline.
func (b *Builder) SetTLI(tli wal.TLI) { b.opts.TLI = tli }

// Pad writes messages up to a position, which must be a multiple of 8. The last
// message needs 32 bytes.
func (b *Builder) Pad(to wal.LSN) {
	for b.Position() < to {
		if b.Position() == b.Position().PageStart() {
			b.pageHeader()
		}
		left := int(min(to, b.Position().PageStart()+wal.BlockSize) - b.Position())
		if left > 2048+32 {
			left = 2048
		}
		if left < 32 {
			panic(fmt.Sprintf("walrecordtest: no record of %d bytes at %s", left, b.Position()))
		}
		b.Message(left)
	}
}

// begin starts a record and returns its bytes.
func (b *Builder) begin(rmid uint8, info uint8, xid uint32, payload []byte) (start wal.LSN, rec []byte) {
	if b.Position() == b.Position().PageStart() {
		b.pageHeader()
	}
	start = b.Position()
	rec = binary.LittleEndian.AppendUint32(nil, uint32(headerSize+len(payload)))
	rec = binary.LittleEndian.AppendUint32(rec, xid)
	rec = binary.LittleEndian.AppendUint64(rec, uint64(b.prev))
	rec = append(rec, info, rmid, 0, 0)
	crc := crc32.Update(crc32.Checksum(payload, castagnoli), castagnoli, rec)
	rec = binary.LittleEndian.AppendUint32(rec, crc)
	b.prev = start
	b.rest = uint32(headerSize + len(payload))
	return start, append(rec, payload...)
}

// write adds a record's bytes, and page headers where they belong.
func (b *Builder) write(rec []byte) {
	for len(rec) > 0 {
		if b.Position() == b.Position().PageStart() {
			b.pageHeader()
		}
		n := min(len(rec), b.Room())
		b.bytes = append(b.bytes, rec[:n]...)
		b.rest -= uint32(n)
		rec = rec[n:]
	}
}

// end pads to a multiple of 8.
func (b *Builder) end() wal.LSN {
	for b.Position()%8 != 0 {
		b.bytes = append(b.bytes, 0)
	}
	return b.Position()
}

func (b *Builder) pageHeader() {
	page := b.Position()
	var flags uint16
	if b.rest > 0 {
		flags |= 0x0001
	}
	if b.lost {
		flags, b.lost = flags|0x0008, false
	}
	long := b.opts.SegmentSize.Offset(page) == 0
	if long {
		flags |= 0x0002
	}
	p := binary.LittleEndian.AppendUint16(b.bytes, magics[b.opts.Major])
	p = binary.LittleEndian.AppendUint16(p, flags)
	p = binary.LittleEndian.AppendUint32(p, uint32(b.opts.TLI))
	p = binary.LittleEndian.AppendUint64(p, uint64(page))
	p = binary.LittleEndian.AppendUint32(p, b.rest)
	p = append(p, 0, 0, 0, 0)
	if long {
		p = binary.LittleEndian.AppendUint64(p, uint64(b.opts.SystemID))
		p = binary.LittleEndian.AppendUint32(p, uint32(b.opts.SegmentSize))
		p = binary.LittleEndian.AppendUint32(p, wal.BlockSize)
	}
	b.bytes = p
}
