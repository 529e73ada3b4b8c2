package protocol

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// cursor walks the fields of a message; bad sticks once bytes are missing.
type cursor struct {
	rest []byte
	bad  bool
}

func (c *cursor) bytes(n int) []byte {
	if c.bad || n < 0 || n > len(c.rest) {
		c.bad = true
		return nil
	}
	b := c.rest[:n]
	c.rest = c.rest[n:]
	return b
}

func (c *cursor) skip(n int) { c.bytes(n) }

func (c *cursor) word() uint16 {
	if b := c.bytes(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) long() uint32 {
	if b := c.bytes(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// text reads a NUL-terminated string.
func (c *cursor) text() string {
	i := indexByte(c.rest, 0)
	if i < 0 {
		c.bad = true
		return ""
	}
	s := string(c.rest[:i])
	c.rest = c.rest[i+1:]
	return s
}

func indexByte(b []byte, x byte) int { return bytes.IndexByte(b, x) }

// noNUL keeps a string from ending a field early.
func noNUL(s string) string {
	if strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(s, "\x00", "\uFFFD")
}
