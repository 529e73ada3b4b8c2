package walstore

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

const (
	testVersion  = 150018
	testSystemID = wal.SystemID(0x1122334455667788)
	testSegment  = wal.MinSegmentSize
)

// generator writes well-formed WAL of XLOG_NOOP records, byte by byte as
// PostgreSQL lays it out.
type generator struct {
	tli  wal.TLI
	pos  wal.LSN
	prev wal.LSN
	out  []byte // bytes since the last take
}

// take returns what was made since the last call and its position.
func (g *generator) take() (at wal.LSN, b []byte) {
	b, g.out = g.out, nil
	return g.pos - wal.LSN(len(b)), b
}

func (g *generator) header(rest int) {
	size := walrecord.ShortPageHeaderSize
	var info uint16
	if testSegment.Offset(g.pos) == 0 {
		size, info = walrecord.LongPageHeaderSize, longHeader
	}
	p := make([]byte, size)
	if rest > 0 {
		info |= firstIsContRecord
	}
	le := binary.LittleEndian
	le.PutUint16(p, walrecord.PageMagic(15))
	le.PutUint16(p[2:], info)
	le.PutUint32(p[4:], uint32(g.tli))
	le.PutUint64(p[8:], uint64(g.pos))
	le.PutUint32(p[16:], uint32(rest))
	if info&longHeader != 0 {
		le.PutUint64(p[24:], uint64(testSystemID))
		le.PutUint32(p[32:], uint32(testSegment))
		le.PutUint32(p[36:], wal.BlockSize)
	}
	g.raw(p)
}

func (g *generator) raw(p []byte) {
	g.out = append(g.out, p...)
	g.pos += wal.LSN(len(p))
}

// emit writes a whole record, with page headers and padding.
func (g *generator) emit(info byte, data []byte) (start, end wal.LSN) {
	if data == nil {
		return g.emitPayload(info, nil)
	}
	return g.emitPayload(info, append(binary.LittleEndian.AppendUint32([]byte{0xFE}, uint32(len(data))), data...))
}

// emitPayload is emit with all that follows the record's header.
func (g *generator) emitPayload(info byte, payload []byte) (start, end wal.LSN) {
	rec := append(make([]byte, 24, 24+len(payload)), payload...)
	if g.pos == g.pos.PageStart() {
		g.header(0)
	}
	start = g.pos
	le := binary.LittleEndian
	le.PutUint32(rec, uint32(len(rec)))
	le.PutUint64(rec[8:], uint64(g.prev))
	rec[16], rec[17] = info, 0
	crc := crc32.Checksum(rec[24:], castagnoli)
	crc = crc32.Update(crc, castagnoli, rec[:20])
	le.PutUint32(rec[20:], crc)
	for len(rec) > 0 {
		if g.pos == g.pos.PageStart() {
			g.header(len(rec))
		}
		n := min(len(rec), int(g.pos.PageStart()+wal.BlockSize-g.pos))
		g.raw(rec[:n])
		rec = rec[n:]
	}
	g.raw(make([]byte, g.pos.Align8()-g.pos))
	g.prev = start
	return start, g.pos
}

// record writes an XLOG_NOOP with n bytes of data that depend on seed.
func (g *generator) record(n int, seed byte) (start, end wal.LSN) {
	data := make([]byte, n)
	for i := range data {
		data[i] = seed + byte(i*7)
	}
	return g.emit(0x20, data)
}

// cutShort writes the pages that a crash of the server left of a record of n bytes, and
// what the server writes instead of the rest.
func (g *generator) cutShort(n int) (lost, end wal.LSN) {
	prev, before := g.prev, len(g.out)
	lost, _ = g.record(n, 9)
	begun := g.pos - wal.LSN(len(g.out)-before)
	cut := (lost + wal.BlockSize).PageStart()
	g.out = g.out[:before+int(cut-begun)]
	g.pos, g.prev = cut, prev
	at := len(g.out)
	g.header(0)
	g.out[at+2] |= byte(walrecord.PageOverwritten)
	payload := binary.LittleEndian.AppendUint64([]byte{0xFF, 16}, uint64(lost))
	_, end = g.emitPayload(0xD0, append(payload, make([]byte, 8)...)) // OVERWRITE_CONTRECORD, at no time
	return lost, end
}

// switchSegment writes XLOG_SWITCH and the padding up to the segment's end.
func (g *generator) switchSegment() (start, end wal.LSN) {
	start, _ = g.emit(0x40, nil)
	rest := (wal.LSN(testSegment) - g.pos%wal.LSN(testSegment)) % wal.LSN(testSegment)
	g.raw(make([]byte, rest))
	return start, g.pos
}
