package walstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/walhaven/walhaven/wal"
)

// The control file, integers little-endian (docs/format/control-file.md):
//
//	 0       8        12       16
//	| magic | version | length | body, length bytes | CRC-32C of all before |
//
//	body of version 1:
//	 0        16          32          40           44         48
//	| tenant | timeline  | system ID | PG version | segsize  |
//	 48       56          64      68         72
//	| start  | watermark | flags | last TLI | n ancestors    |
//	 76
//	| n x { TLI u32, switch u64, reason: length u16, bytes } |
//	| name: length u16, bytes | state: length u32, bytes     |
//
// Magic, version and length keep their places in every version, so that an
// older program can always say that a file is too new for it.
const (
	controlMagic      = "WALHAVCF"
	controlVersion    = 1
	controlHeaderSize = 16
	controlFixedSize  = 76

	// maxControlSize bounds what is read; the state is the only big part.
	maxControlSize = MaxStateSize + 4<<20
	maxNameLen     = 255
	maxAncestors   = 1 << 16
	maxReasonLen   = 1024

	// flagClean: the store was closed in order, and behind the watermark the
	// open segment is zero on disk.
	flagClean = 1 << 0
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errTruncated = errors.New("content ends early")

// encodeControl returns the file's content.
func encodeControl(c Control, clean bool) []byte {
	le := binary.LittleEndian
	b := make([]byte, 0, controlHeaderSize+controlFixedSize+len(c.Name)+len(c.State)+64*len(c.History.Ancestors)+16)
	b = append(b, controlMagic...)
	b = le.AppendUint32(b, controlVersion)
	b = le.AppendUint32(b, 0) // length, below
	b = append(b, c.ID.Tenant[:]...)
	b = append(b, c.ID.Timeline[:]...)
	b = le.AppendUint64(b, uint64(c.SystemID))
	b = le.AppendUint32(b, c.PGVersion)
	b = le.AppendUint32(b, uint32(c.SegmentSize))
	b = le.AppendUint64(b, uint64(c.Start))
	b = le.AppendUint64(b, uint64(c.Watermark))
	var flags uint32
	if clean {
		flags |= flagClean
	}
	b = le.AppendUint32(b, flags)
	b = le.AppendUint32(b, uint32(c.History.Last))
	b = le.AppendUint32(b, uint32(len(c.History.Ancestors)))
	for _, e := range c.History.Ancestors {
		b = le.AppendUint32(b, uint32(e.TLI))
		b = le.AppendUint64(b, uint64(e.Switch))
		b = le.AppendUint16(b, uint16(len(e.Reason)))
		b = append(b, e.Reason...)
	}
	b = le.AppendUint16(b, uint16(len(c.Name)))
	b = append(b, c.Name...)
	b = le.AppendUint32(b, uint32(len(c.State)))
	b = append(b, c.State...)
	le.PutUint32(b[12:], uint32(len(b)-controlHeaderSize))
	return le.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeControl reads what encodeControl wrote.
func decodeControl(b []byte) (c Control, clean bool, err error) {
	if len(b) < controlHeaderSize+4 || string(b[:8]) != controlMagic {
		return c, false, errors.New("not a walhaven control file")
	}
	le := binary.LittleEndian
	if v := le.Uint32(b[8:]); v > controlVersion {
		return c, false, fmt.Errorf("%w: its format is version %d and this program reads versions up to %d; run the newer walhaven that wrote it, or restore the folder from before the upgrade", ErrNewerVersion, v, controlVersion)
	} else if v == 0 {
		return c, false, errors.New("control file has format version 0")
	}
	body, sum := b[controlHeaderSize:len(b)-4], le.Uint32(b[len(b)-4:])
	if uint64(le.Uint32(b[12:])) != uint64(len(body)) {
		return c, false, fmt.Errorf("control file has %d bytes of content, its header says %d", len(body), le.Uint32(b[12:]))
	}
	if got := crc32.Checksum(b[:len(b)-4], castagnoli); got != sum {
		return c, false, fmt.Errorf("control file has checksum %08X, expected %08X", got, sum)
	}
	return decodeControlBody(body)
}

func decodeControlBody(body []byte) (c Control, clean bool, err error) {
	r := reader{b: body}
	copy(c.ID.Tenant[:], r.bytes(16))
	copy(c.ID.Timeline[:], r.bytes(16))
	c.SystemID = wal.SystemID(r.u64())
	c.PGVersion = r.u32()
	c.SegmentSize = wal.SegmentSize(r.u32())
	c.Start = wal.LSN(r.u64())
	c.Watermark = wal.LSN(r.u64())
	clean = r.u32()&flagClean != 0
	c.History.Last = wal.TLI(r.u32())
	for n := r.u32(); n > 0 && !r.short; n-- {
		e := wal.HistoryEntry{TLI: wal.TLI(r.u32()), Switch: wal.LSN(r.u64())}
		e.Reason = string(r.bytes(int(r.u16())))
		c.History.Ancestors = append(c.History.Ancestors, e)
	}
	c.Name = string(r.bytes(int(r.u16())))
	if state := r.bytes(int(r.u32())); len(state) > 0 {
		c.State = append([]byte(nil), state...)
	}
	if r.short {
		return c, false, fmt.Errorf("control file: %w", errTruncated)
	}
	if len(r.b) > 0 {
		return c, false, fmt.Errorf("control file has %d bytes behind its content", len(r.b))
	}
	if err := c.validate(); err != nil {
		return c, false, fmt.Errorf("control file: %w", err)
	}
	if first := c.SegmentSize.SegmentStart(c.Start); c.Watermark < first {
		return c, false, fmt.Errorf("control file: watermark %s lies below the first segment's start %s", c.Watermark, first)
	}
	return c, clean, nil
}

// reader takes fields off b; past the end it returns zeroes and says so.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) bytes(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.short, r.b = true, nil
		return nil
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) u16() uint16 {
	if p := r.bytes(2); p != nil {
		return binary.LittleEndian.Uint16(p)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if p := r.bytes(4); p != nil {
		return binary.LittleEndian.Uint32(p)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if p := r.bytes(8); p != nil {
		return binary.LittleEndian.Uint64(p)
	}
	return 0
}
