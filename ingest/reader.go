package ingest

import (
	"encoding/binary"
	"errors"

	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

var (
	errTruncated = errors.New("record is too short")
	errUnknown   = errors.New("operation is unknown")
)

// reader takes little-endian fields, not aligned, from a record. After it ran
// past the end every field is zero and bad is true, so that its user checks
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

func (r *reader) lsn() wal.LSN        { return wal.LSN(r.u64()) }
func (r *reader) time() wal.Timestamp { return wal.Timestamp(r.u64()) }

func (r *reader) relFile() walrecord.RelFile {
	return walrecord.RelFile{Tablespace: r.u32(), Database: r.u32(), Relation: r.u32()}
}

// counted takes a number n and then n items of size bytes.
func (r *reader) counted(size int) []byte {
	n := r.u32()
	if uint64(n)*uint64(size) > uint64(len(r.rest)) {
		r.bad = true
		return nil
	}
	return r.bytes(int(n) * size)
}

// pageNumber takes the number of an SLRU's page: 8 bytes from version 17 on.
func (r *reader) pageNumber(major int) uint64 {
	if major == 0 || major >= 17 {
		return r.u64()
	}
	return uint64(r.u32())
}
