package protocol

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Sizes of a frameReader's buffer in bytes. It starts small, because most
// connections never stream, and grows no faster than data arrives.
const (
	initialReadBuffer = 8 << 10
	streamReadBuffer  = 256 << 10
	frameHeader       = 5 // type and length
)

// frameError says that a message is not allowed in this state: its type is
// unknown (max < 0) or its length out of bounds.
type frameError struct {
	tag    byte
	length uint32 // as on the wire, with its own four bytes
	max    int32
}

func (e *frameError) Error() string {
	if e.max < 0 {
		return fmt.Sprintf("invalid message type %q", e.tag)
	}
	return fmt.Sprintf("invalid message length %d for type %q", e.length, e.tag)
}

// SQLState makes it a protocol violation.
func (e *frameError) SQLState() string { return CodeProtocolViolation }

// frameReader cuts a byte stream into messages without copying them: a body
// aliases the buffer and lives until the next call. Reading errors leave the
// buffer as it is, so reading may go on after a deadline.
type frameReader struct {
	src    io.Reader
	limits *frameLimits
	buf    []byte
	r, w   int // unread bytes are buf[r:w]
	// ahead is how much is read beyond what is asked for: 0 is all that fits.
	ahead int
	left  int // bytes of a body that was begun and not yet read
	// arm runs before each read of src, to set a deadline or to refuse.
	arm func() error
}

func newFrameReader(src io.Reader, limits *frameLimits) *frameReader {
	return &frameReader{src: src, limits: limits, buf: make([]byte, initialReadBuffer)}
}

// next returns the next message. An end of file between messages is io.EOF,
// inside of one io.ErrUnexpectedEOF.
func (f *frameReader) next() (tag byte, body []byte, err error) {
	if err := f.require(frameHeader); err != nil {
		return 0, nil, err
	}
	size, err := f.check()
	if err != nil {
		return 0, nil, err
	}
	if err := f.require(size); err != nil {
		return 0, nil, err
	}
	tag, body = f.buf[f.r], f.buf[f.r+frameHeader:f.r+size:f.r+size]
	f.r += size
	return tag, body, nil
}

// begin is next, but of a message of type tag it returns only the first n bytes
// of the body, or all when it is shorter. The left bytes that follow are taken
// by rest.
func (f *frameReader) begin(tag byte, n int) (got byte, head []byte, err error) {
	if err := f.require(frameHeader); err != nil {
		return 0, nil, err
	}
	if f.buf[f.r] != tag {
		return f.next()
	}
	size, err := f.check()
	if err != nil {
		return 0, nil, err
	}
	part := min(size, frameHeader+n)
	if err := f.require(part); err != nil {
		return 0, nil, err
	}
	head = f.buf[f.r+frameHeader : f.r+part : f.r+part]
	f.r, f.left = f.r+part, size-part
	return tag, head, nil
}

// rest fills p, at most left bytes: with what is in the buffer, then from the
// connection straight to where the bytes belong.
func (f *frameReader) rest(p []byte) error {
	if len(p) > f.left {
		return fmt.Errorf("%d bytes asked for of a message that has %d more", len(p), f.left)
	}
	n := copy(p, f.buf[f.r:f.w])
	f.r += n
	f.left -= n
	for p = p[n:]; len(p) > 0; p = p[n:] {
		if f.arm != nil {
			if err := f.arm(); err != nil {
				return err
			}
		}
		var err error
		if n, err = f.src.Read(p); err != nil && n < len(p) {
			if err == io.EOF {
				return io.ErrUnexpectedEOF
			}
			return err
		}
		f.left -= n
	}
	return nil
}

// check validates the header at r and returns the size of the whole message.
func (f *frameReader) check() (int, error) {
	tag, length := f.buf[f.r], binary.BigEndian.Uint32(f.buf[f.r+1:])
	limit := f.limits[tag]
	if limit < 0 || length < 4 || length-4 > uint32(limit) {
		return 0, &frameError{tag: tag, length: length, max: limit}
	}
	return 1 + int(length), nil
}

// buffered says whether next would return without reading. skip names types
// that the caller passes over silently.
func (f *frameReader) buffered(skip string) bool {
	for at := f.r; f.w-at >= frameHeader; {
		tag, length := f.buf[at], binary.BigEndian.Uint32(f.buf[at+1:])
		if length < 4 || int64(length) > int64(f.w-at-1) {
			return length < 4
		}
		if !containsByte(skip, tag) {
			return true
		}
		at += 1 + int(length)
	}
	return false
}

func containsByte(set string, b byte) bool {
	for i := range len(set) {
		if set[i] == b {
			return true
		}
	}
	return false
}

// pending returns the bytes that were read but not consumed.
func (f *frameReader) pending() []byte { return f.buf[f.r:f.w] }

// require makes at least n unread bytes available.
func (f *frameReader) require(n int) error {
	for f.w-f.r < n {
		f.makeRoom(n)
		if f.arm != nil {
			if err := f.arm(); err != nil {
				return err
			}
		}
		end := len(f.buf)
		if f.ahead > 0 {
			end = min(end, max(f.r+n, f.w+f.ahead))
		}
		m, err := f.src.Read(f.buf[f.w:end])
		f.w += m
		if err != nil && f.w-f.r < n {
			if err == io.EOF && f.w > f.r {
				return io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// makeRoom guarantees space behind w for a read towards n bytes. An incomplete
// message is moved to the front when the rest cannot hold it, and the buffer
// doubles only when it is full of that message, so a long length in a header
// alone allocates nothing.
func (f *frameReader) makeRoom(n int) {
	if f.r == f.w {
		f.r, f.w = 0, 0
	}
	if f.r+n > len(f.buf) && f.r > 0 {
		f.w = copy(f.buf, f.buf[f.r:f.w])
		f.r = 0
	}
	if f.w == len(f.buf) {
		grown := make([]byte, min(max(2*len(f.buf), initialReadBuffer), max(n, streamReadBuffer)))
		f.w = copy(grown, f.buf[f.r:f.w])
		f.r, f.buf = 0, grown
	}
}

// reserve grows the buffer to what a stream wants.
func (f *frameReader) reserve(size int) {
	if len(f.buf) >= size {
		return
	}
	grown := make([]byte, size)
	f.w = copy(grown, f.buf[f.r:f.w])
	f.r, f.buf = 0, grown
}
