package pushwal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Version is the version of START_WAL_PUSH's messages, option proto_version.
type Version int

// Versions that exist. Neon's acceptor takes Version2 when the option is
// absent; its proposer asks for Version3.
const (
	Version2 Version = 2 // little endian, C structs as they lie in memory
	Version3 Version = 3 // big endian, packed, with membership
)

// Valid says whether the version exists.
func (v Version) Valid() bool { return v == Version2 || v == Version3 }

// Kinds of messages: the first byte of each, in both versions and directions.
const (
	KindGreeting = 'g'
	KindVote     = 'v'
	KindElected  = 'e'
	KindAppend   = 'a'

	// Ours, once both sides know them.
	KindConfiguration = 'c'
	KindMembership    = 'm'
)

// Kind returns the kind of the message in src, 0 when src is empty.
func Kind(src []byte) byte {
	if len(src) == 0 {
		return 0
	}
	return src[0]
}

// ErrMalformed is wrapped by every decoding error.
var ErrMalformed = errors.New("malformed message")

// Codec encodes and decodes messages. Version must be set.
//
// Decoders of proposer messages ignore bytes behind the last field, as Neon's
// acceptor does; those of acceptor messages refuse them, as Neon's proposer
// does. All refuse short messages, allocate no more than a small multiple of
// the message's length, and leave m in an undefined state when they fail.
type Codec struct {
	Version Version

	// Walhaven says that our options are in use: in greetings once the
	// proposer asked for them, in all else once the acceptor's greeting
	// answered. It counts in Version3 only; version 2 is Neon's alone.
	Walhaven bool

	// Revision of our options that both ends know, see Negotiated; 0 is that of
	// RevisionMembership. It counts with Walhaven.
	Revision uint32
}

// Negotiated is c between this program and one of the revision given: what a
// proposer said with its START_WAL_PUSH, or an acceptor in its greeting.
func (c Codec) Negotiated(revision uint32) Codec {
	c.Revision = min(revision, Revision)
	return c
}

func (c Codec) options() bool { return c.Walhaven && c.Version == Version3 }

// decoder reads fields in order. The first field that is not there sets short,
// and all that follow are zero.
type decoder struct {
	rest   []byte
	little bool
	short  bool
}

// open begins a message after its tag.
func (c Codec) open(src []byte, kind byte, what string) (decoder, error) {
	d := decoder{rest: src, little: c.Version == Version2}
	switch c.Version {
	case Version2:
		d.u64()
	case Version3:
		d.u8()
	default:
		return d, fmt.Errorf("decode %s: protocol version %d does not exist", what, c.Version)
	}
	if d.short {
		return d, d.malformed(what, "too short")
	}
	if src[0] != kind {
		return d, d.malformed(what, fmt.Sprintf("tag is %q", src[0]))
	}
	return d, nil
}

func (d *decoder) malformed(what, why string) error {
	return fmt.Errorf("decode %s: %s: %w", what, why, ErrMalformed)
}

// end refuses a message that was too short, or, when strict, too long.
func (d *decoder) end(what string, strict bool) error {
	switch {
	case d.short:
		return d.malformed(what, "too short")
	case strict && len(d.rest) > 0:
		return d.malformed(what, fmt.Sprintf("%d bytes too long", len(d.rest)))
	}
	return nil
}

// take returns the next n bytes, nil when they are not there.
func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.rest) {
		d.short, d.rest = true, nil
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) u8() uint8 {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) u16() uint16 {
	b := d.take(2)
	switch {
	case b == nil:
		return 0
	case d.little:
		return binary.LittleEndian.Uint16(b)
	}
	return binary.BigEndian.Uint16(b)
}

func (d *decoder) u32() uint32 {
	b := d.take(4)
	switch {
	case b == nil:
		return 0
	case d.little:
		return binary.LittleEndian.Uint32(b)
	}
	return binary.BigEndian.Uint32(b)
}

func (d *decoder) u64() uint64 {
	b := d.take(8)
	switch {
	case b == nil:
		return 0
	case d.little:
		return binary.LittleEndian.Uint64(b)
	}
	return binary.BigEndian.Uint64(b)
}

// cstr returns the bytes before the next NUL.
func (d *decoder) cstr() []byte {
	n := bytes.IndexByte(d.rest, 0)
	if n < 0 {
		d.short, d.rest = true, nil
		return nil
	}
	s := d.take(n)
	d.take(1)
	return s
}

// count reads a number of elements of at least size bytes each and refuses one
// that the rest cannot hold.
func (d *decoder) count(size int) int {
	n := d.u32()
	if uint64(n)*uint64(size) > uint64(len(d.rest)) {
		d.short, d.rest = true, nil
		return 0
	}
	return int(n)
}

// encoder appends fields in order.
type encoder struct {
	b      []byte
	little bool
}

func (c Codec) begin(dst []byte, kind byte) encoder {
	if c.Version == Version2 {
		e := encoder{b: dst, little: true}
		e.u64(uint64(kind))
		return e
	}
	return encoder{b: append(dst, kind)}
}

func (e *encoder) u8(v uint8) { e.b = append(e.b, v) }

func (e *encoder) u16(v uint16) {
	if e.little {
		e.b = binary.LittleEndian.AppendUint16(e.b, v)
		return
	}
	e.b = binary.BigEndian.AppendUint16(e.b, v)
}

func (e *encoder) u32(v uint32) {
	if e.little {
		e.b = binary.LittleEndian.AppendUint32(e.b, v)
		return
	}
	e.b = binary.BigEndian.AppendUint32(e.b, v)
}

func (e *encoder) u64(v uint64) {
	if e.little {
		e.b = binary.LittleEndian.AppendUint64(e.b, v)
		return
	}
	e.b = binary.BigEndian.AppendUint64(e.b, v)
}

func (e *encoder) cstr(s string) { e.b = append(append(e.b, s...), 0) }

func flag(v bool) uint8 {
	if v {
		return 1
	}
	return 0
}
