package pushwal

import (
	"fmt"
	"hash/crc32"

	"github.com/walhaven/walhaven/wal"
)

// MaxAppendHeader is the length in bytes of the longest AppendRequest header,
// for buffers.
const MaxAppendHeader = 72

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum returns the CRC-32C that AppendRequest.CRC carries.
func Checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// CheckCRC verifies the WAL of a request in our form against its CRC.
func (m *AppendRequest) CheckCRC() error {
	if got := Checksum(m.WAL); got != m.CRC {
		return fmt.Errorf("WAL frame at %s has CRC %08X, its sender says %08X: %w", m.Begin, got, m.CRC, ErrMalformed)
	}
	return nil
}

// AppendAppendRequestHeader appends m without its WAL, which the caller sends
// behind it (CopyStream.Send(header, wal)); End - Begin must be its length.
func (c Codec) AppendAppendRequestHeader(dst []byte, m *AppendRequest) []byte {
	e := c.begin(dst, KindAppend)
	if c.Version == Version2 {
		e.u64(uint64(m.Term))
		e.u64(0) // start of the term of old
	} else {
		e.u32(uint32(m.Generation))
		e.u64(uint64(m.Term))
	}
	e.u64(uint64(m.Begin))
	e.u64(uint64(m.End))
	e.u64(uint64(m.CommitLSN))
	e.u64(uint64(m.TruncateLSN))
	switch {
	case c.Version == Version2:
		e.u64(0) // the proposer's ID of old
		e.u64(0)
	case c.options():
		e.u32(uint32(m.TLI))
		e.u32(m.CRC)
	}
	return e.b
}

// DecodeAppendRequest decodes src into m without copying: m.WAL aliases src.
// The CRC is not verified; see CheckCRC.
func (c Codec) DecodeAppendRequest(src []byte, m *AppendRequest) error {
	const what = "append request"
	*m = AppendRequest{}
	d, err := c.open(src, KindAppend, what)
	if err != nil {
		return err
	}
	if c.Version == Version2 {
		m.Term = wal.Term(d.u64())
		d.u64()
	} else {
		m.Generation = Generation(d.u32())
		m.Term = wal.Term(d.u64())
	}
	m.Begin, m.End = wal.LSN(d.u64()), wal.LSN(d.u64())
	m.CommitLSN, m.TruncateLSN = wal.LSN(d.u64()), wal.LSN(d.u64())
	switch {
	case c.Version == Version2:
		d.take(16)
	case c.options():
		m.TLI = wal.TLI(d.u32())
		m.CRC = d.u32()
	}
	if m.End < m.Begin || m.End-m.Begin > MaxAppend {
		return d.malformed(what, fmt.Sprintf("range %s..%s", m.Begin, m.End))
	}
	m.WAL = d.take(int(m.End - m.Begin))
	return d.end(what, false)
}

// durable says that answers have DurableLSN.
func (c Codec) durable() bool { return c.options() && c.Revision >= RevisionDurable }

// AppendAppendResponse appends m to dst.
func (c Codec) AppendAppendResponse(dst []byte, m *AppendResponse) []byte {
	e := c.begin(dst, KindAppend)
	if c.Version == Version3 {
		e.u32(uint32(m.Generation))
	}
	e.u64(uint64(m.Term))
	e.u64(uint64(m.FlushLSN))
	e.u64(uint64(m.CommitLSN))
	e.u64(uint64(m.Standby.Time))
	e.u64(m.Standby.Xmin)
	e.u64(m.Standby.CatalogXmin)
	if c.durable() {
		e.u64(uint64(m.DurableLSN))
	}
	if m.Pageserver == nil {
		return e.b
	}
	return AppendPageserverFeedback(e.b, m.Pageserver)
}

// DecodeAppendResponse decodes src into m. It allocates only when the response
// carries pageserver feedback.
func (c Codec) DecodeAppendResponse(src []byte, m *AppendResponse) error {
	const what = "append response"
	*m = AppendResponse{}
	d, err := c.open(src, KindAppend, what)
	if err != nil {
		return err
	}
	if c.Version == Version3 {
		m.Generation = Generation(d.u32())
	}
	m.Term = wal.Term(d.u64())
	m.FlushLSN = wal.LSN(d.u64())
	m.CommitLSN = wal.LSN(d.u64())
	m.Standby.Time = wal.Timestamp(d.u64())
	m.Standby.Xmin = d.u64()
	m.Standby.CatalogXmin = d.u64()
	if c.durable() {
		m.DurableLSN = wal.LSN(d.u64())
	}
	if err := d.end(what, false); err != nil {
		return err
	}
	if len(d.rest) == 0 {
		return nil
	}
	m.Pageserver = new(PageserverFeedback)
	if err := DecodePageserverFeedback(d.rest, m.Pageserver); err != nil {
		return fmt.Errorf("decode %s: %w", what, err)
	}
	return nil
}
