package walrecord

import (
	"encoding/binary"

	"github.com/walhaven/walhaven/wal"
)

// Cursor takes little-endian fields, not aligned, off the front of a record's
// data. After it ran past the end every field is zero and Bad is true, so that
// its user checks once, before it uses what it read.
type Cursor struct {
	Rest []byte // aliases the record; nil once Bad
	Bad  bool
}

// NewCursor begins at the front of b.
func NewCursor(b []byte) Cursor { return Cursor{Rest: b} }

// Bytes takes n bytes, aliasing the record; nil when there are fewer.
func (c *Cursor) Bytes(n int) []byte {
	if n < 0 || n > len(c.Rest) {
		c.Bad, c.Rest = true, nil
		return nil
	}
	b := c.Rest[:n:n]
	c.Rest = c.Rest[n:]
	return b
}

// Skip passes n bytes.
func (c *Cursor) Skip(n int) { c.Bytes(n) }

// U8 takes a byte.
func (c *Cursor) U8() uint8 {
	if b := c.Bytes(1); b != nil {
		return b[0]
	}
	return 0
}

// U16 takes two bytes.
func (c *Cursor) U16() uint16 {
	if b := c.Bytes(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

// U32 takes four bytes.
func (c *Cursor) U32() uint32 {
	if b := c.Bytes(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// U64 takes eight bytes.
func (c *Cursor) U64() uint64 {
	if b := c.Bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// LSN takes an XLogRecPtr.
func (c *Cursor) LSN() wal.LSN { return wal.LSN(c.U64()) }

// Time takes a TimestampTz.
func (c *Cursor) Time() wal.Timestamp { return wal.Timestamp(c.U64()) }

// RelFile takes a RelFileLocator.
func (c *Cursor) RelFile() RelFile {
	return RelFile{Tablespace: c.U32(), Database: c.U32(), Relation: c.U32()}
}

// Counted takes a number n of four bytes and then n items of size bytes.
func (c *Cursor) Counted(size int) []byte {
	n := c.U32()
	if uint64(n)*uint64(size) > uint64(len(c.Rest)) {
		c.Bad, c.Rest = true, nil
		return nil
	}
	return c.Bytes(int(n) * size)
}
