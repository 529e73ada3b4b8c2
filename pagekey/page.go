package pagekey

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// An image is the page without one run of zeroes: hole offset u16, hole length
// u16, the rest; then it may say which record made it, see causeSize.
const imageHeader = 4

// errValue is in the chain of an error about a value that nothing here wrote.
var errValue = errors.New("value of a page is damaged")

// AppendPage adds the image of p as it is stored: without the zeroes between its
// line pointers and tuples, or at its end.
func AppendPage(dst []byte, p *page.Page) []byte {
	lo, hi := hole(p)
	dst = appendImageHeader(dst, lo, hi-lo)
	dst = append(dst, p[:lo]...)
	return append(dst, p[hi:]...)
}

func appendImageHeader(dst []byte, offset, length int) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, uint16(offset))
	return binary.LittleEndian.AppendUint16(dst, uint16(length))
}

// hole is the larger of the zeroes that the header promises and those at the
// end.
func hole(p *page.Page) (lo, hi int) {
	lo, hi = page.Size, page.Size
	for lo > 0 && p[lo-1] == 0 {
		lo--
	}
	lower, upper := p.Lower(), p.Upper()
	if upper > page.Size || lower < page.HeaderSize || upper-lower <= hi-lo {
		return lo, hi
	}
	for _, b := range p[lower:upper] {
		if b != 0 {
			return lo, hi
		}
	}
	return lower, upper
}

// AppendImage adds the image of a record's block, which [redo.Rebuilds] and needs
// no more than being restored: that of every resource manager but Hash and Gist.
// It is done for images that are not compressed; ok says so.
//
// end is the record's end, which becomes pd_lsn as redo would have it.
func AppendImage(dst []byte, img *walrecord.Image, end wal.LSN) (_ []byte, ok bool) {
	if img.Compression != walrecord.CompressionNone {
		return dst, false
	}
	off, length := int(img.HoleOffset), int(img.HoleLength)
	if len(img.Data)+length != page.Size || off > len(img.Data) || length > 0 && off < page.HeaderSize {
		return dst, false
	}
	at := len(dst) + imageHeader
	dst = appendImageHeader(dst, off, length)
	dst = append(dst, img.Data...)
	if p := dst[at:]; binary.LittleEndian.Uint16(p[14:]) != 0 { // pd_upper: a new page keeps no LSN.
		binary.LittleEndian.PutUint32(p, uint32(end>>32))
		binary.LittleEndian.PutUint32(p[4:], uint32(end))
	}
	return dst, true
}

// ParsePage makes p the page whose image is value.
func ParsePage(value []byte, p *page.Page) error {
	if len(value) < imageHeader {
		return fmt.Errorf("image of %d bytes: %w", len(value), errValue)
	}
	off, length := int(binary.LittleEndian.Uint16(value)), int(binary.LittleEndian.Uint16(value[2:]))
	rest := value[imageHeader:]
	kept := page.Size - length
	if off > kept || len(rest) != kept && len(rest) != kept+causeSize {
		return fmt.Errorf("image of %d bytes with a hole of %d at %d: %w", len(value), length, off, errValue)
	}
	copy(p[:off], rest)
	clear(p[off : off+length])
	copy(p[off+length:], rest[off:kept])
	return nil
}

// AppendSize adds the value of a relation's or SLRU segment's size, in pages.
func AppendSize(dst []byte, pages uint32) []byte { return binary.LittleEndian.AppendUint32(dst, pages) }

// ParseSize reads what AppendSize wrote.
func ParseSize(value []byte) (uint32, error) {
	if len(value) != 4 {
		return 0, fmt.Errorf("size of %d bytes: %w", len(value), errValue)
	}
	return binary.LittleEndian.Uint32(value), nil
}

// AppendOrigin adds the value of a replication origin: how far the other side was
// replayed, and where that was committed here.
func AppendOrigin(dst []byte, remote, local wal.LSN) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(remote))
	return binary.LittleEndian.AppendUint64(dst, uint64(local))
}

// ParseOrigin reads what AppendOrigin wrote.
func ParseOrigin(value []byte) (remote, local wal.LSN, err error) {
	if len(value) != 16 {
		return 0, 0, fmt.Errorf("replication origin of %d bytes: %w", len(value), errValue)
	}
	return wal.LSN(binary.LittleEndian.Uint64(value)), wal.LSN(binary.LittleEndian.Uint64(value[8:])), nil
}
