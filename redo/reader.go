package redo

import "encoding/binary"

// reader takes little-endian fields, not aligned, from a record. After it ran
// past the end every field is zero and ok is false, so that its user checks
// once, before it uses what it read.
type reader struct {
	rest []byte
	bad  bool
}

func read(b []byte) reader { return reader{rest: b} }

// bytes takes n bytes, aliasing the record; nil when there are fewer.
func (r *reader) bytes(n int) []byte {
	if n < 0 || n > len(r.rest) {
		r.bad = true
		r.rest = nil
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) skip(n int) { r.bytes(n) }

func (r *reader) u8() uint8 {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.bytes(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.bytes(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// done is the error of having read past the end.
func (r *reader) done() error {
	if r.bad {
		return ErrTruncated
	}
	return nil
}
