package pagestream

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/walhaven/walhaven/wal"
)

// AppendRequest adds the message of r to dst.
func AppendRequest(dst []byte, v Version, r *Request) []byte {
	return appendBody(appendHeader(append(dst, byte(r.Kind)), v, r), r)
}

func appendHeader(dst []byte, v Version, r *Request) []byte {
	if v == Version3 {
		dst = binary.BigEndian.AppendUint64(dst, r.ID)
	}
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.LSN))
	return binary.BigEndian.AppendUint64(dst, uint64(r.NotModifiedSince))
}

func appendBody(dst []byte, r *Request) []byte {
	switch r.Kind {
	case Exists, Nblocks, GetPage:
		dst = binary.BigEndian.AppendUint32(dst, r.Tablespace)
		dst = binary.BigEndian.AppendUint32(dst, r.Database)
		dst = binary.BigEndian.AppendUint32(dst, r.Relation)
		dst = append(dst, r.Fork)
		if r.Kind == GetPage {
			dst = binary.BigEndian.AppendUint32(dst, r.Block)
		}
	case DBSize:
		dst = binary.BigEndian.AppendUint32(dst, r.Database)
	case GetSlruSegment:
		dst = binary.BigEndian.AppendUint32(append(dst, r.SLRU), r.Segment)
	}
	return dst
}

// DecodeRequest reads the message in src, which must be exactly one. It refuses
// kinds that do not exist, and leaves the judgement of values to the caller. On
// error r is of no use.
func DecodeRequest(v Version, src []byte, r *Request) error {
	d := decoder{rest: src}
	*r = Request{Kind: Kind(d.u8())}
	if !v.Valid() || r.Kind > GetSlruSegment {
		return fmt.Errorf("%w: request of kind %d, version %d", ErrMalformed, r.Kind, v)
	}
	d.header(v, r)
	d.body(r)
	if d.short || len(d.rest) > 0 {
		return fmt.Errorf("%w: %s request of %d bytes", ErrMalformed, r.Kind, len(src))
	}
	return nil
}

// AppendResponse adds the message of r to dst. Pages of a segment beyond
// MaxSegmentBlocks make a message that clients refuse.
func AppendResponse(dst []byte, v Version, r *Response) []byte {
	return append(AppendResponseHead(dst, v, r), r.Pages...)
}

// AppendResponseHead adds all of the message but r.Pages, which follow it on the
// wire: a page can be sent from where it lies.
func AppendResponseHead(dst []byte, v Version, r *Response) []byte {
	q := &r.Request
	if r.Failure != "" {
		dst = append(dst, errorTag)
		if v == Version3 {
			dst = appendHeader(dst, v, q)
		}
		return append(append(dst, r.Failure...), 0)
	}
	dst = append(dst, q.Kind.tag())
	if v == Version3 {
		dst = appendBody(appendHeader(dst, v, q), q)
	}
	switch q.Kind {
	case Exists:
		if r.Exists {
			return append(dst, 1)
		}
		return append(dst, 0)
	case Nblocks:
		return binary.BigEndian.AppendUint32(dst, r.Blocks)
	case DBSize:
		return binary.BigEndian.AppendUint64(dst, uint64(r.Bytes))
	case GetSlruSegment:
		return binary.BigEndian.AppendUint32(dst, uint32(len(r.Pages)/PageSize))
	case GetPage:
	}
	return dst
}

// DecodeResponse reads the message in src, which must be exactly one. Pages
// alias src. On error r is of no use.
func DecodeResponse(v Version, src []byte, r *Response) error {
	d := decoder{rest: src}
	tag := d.u8()
	*r = Response{}
	if !v.Valid() || tag < responseTag || tag > GetSlruSegment.tag() {
		return fmt.Errorf("%w: response with tag %d, version %d", ErrMalformed, tag, v)
	}
	q := &r.Request
	if tag > errorTag {
		q.Kind = Kind(tag - responseTag - 1)
	} else if tag != errorTag {
		q.Kind = Kind(tag - responseTag)
	}
	if v == Version3 {
		d.header(v, q)
	}
	if tag == errorTag {
		return d.failure(r)
	}
	if v == Version3 {
		d.body(q)
	}
	d.result(r)
	if d.short || len(d.rest) > 0 {
		return fmt.Errorf("%w: %s response of %d bytes", ErrMalformed, q.Kind, len(src))
	}
	return nil
}

// decoder reads fields in order. The first that is not there sets short, and all
// that follow are zero.
type decoder struct {
	rest  []byte
	short bool
}

func (d *decoder) take(n int) []byte {
	if len(d.rest) < n {
		d.short, d.rest = true, nil
		return make([]byte, min(n, 8))
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) u8() uint8   { return d.take(1)[0] }
func (d *decoder) u32() uint32 { return binary.BigEndian.Uint32(d.take(4)) }
func (d *decoder) u64() uint64 { return binary.BigEndian.Uint64(d.take(8)) }

func (d *decoder) header(v Version, r *Request) {
	if v == Version3 {
		r.ID = d.u64()
	}
	r.LSN, r.NotModifiedSince = wal.LSN(d.u64()), wal.LSN(d.u64())
}

func (d *decoder) body(r *Request) {
	switch r.Kind {
	case Exists, Nblocks, GetPage:
		r.Tablespace, r.Database, r.Relation, r.Fork = d.u32(), d.u32(), d.u32(), d.u8()
		if r.Kind == GetPage {
			r.Block = d.u32()
		}
	case DBSize:
		r.Database = d.u32()
	case GetSlruSegment:
		r.SLRU, r.Segment = d.u8(), d.u32()
	}
}

func (d *decoder) result(r *Response) {
	switch r.Request.Kind {
	case Exists:
		switch d.u8() {
		case 0:
		case 1:
			r.Exists = true
		default:
			d.short = true
		}
	case Nblocks:
		r.Blocks = d.u32()
	case GetPage:
		r.Pages = d.pages(1)
	case DBSize:
		r.Bytes = int64(d.u64())
	case GetSlruSegment:
		n := d.u32()
		if n > MaxSegmentBlocks {
			d.short = true
			return
		}
		r.Pages = d.pages(int(n))
	}
}

// pages takes n pages without making room for those that are not there.
func (d *decoder) pages(n int) []byte {
	if len(d.rest) < n*PageSize {
		d.short = true
		return nil
	}
	return d.take(n * PageSize)
}

func (d *decoder) failure(r *Response) error {
	end := bytes.IndexByte(d.rest, 0)
	if d.short || end < 1 || end != len(d.rest)-1 {
		return fmt.Errorf("%w: error response", ErrMalformed)
	}
	r.Failure = string(d.rest[:end])
	return nil
}
