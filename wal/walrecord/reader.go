package walrecord

import (
	"encoding/binary"

	"github.com/walhaven/walhaven/wal"
)

// RecordFunc receives a whole record: its start, its end as RecordEnd counts
// it, and its bytes from the record header on. rec is valid during the call
// only, unless it is longer than [KeptRecord]: then it is the caller's. An error
// stops Feed, which returns it as it is.
type RecordFunc func(start, end wal.LSN, rec []byte) error

// WantFunc is asked, before a record is put together that does not arrive whole
// on one page, whether its bytes are wanted; header is the first RecordHeaderSize
// of them. One that is not is checked as any other, and RecordFunc gets the header
// alone. An error stops Feed, which returns it as it is; the Reader is of no use
// then.
type WantFunc func(start wal.LSN, header []byte) (bool, error)

// Reader is a [Scanner] that hands out the records that it has proved. Only
// records that cross pages or calls of Feed are copied; its memory grows with
// the bytes of one record that arrived, never with a length that was announced.
//
// When the callback fails, the record counts as read and the reader is usable:
// go on with Feed(Position(), rest).
type Reader struct {
	Scanner
	sink sink
}

// NewReader starts at o.Start and calls onRecord for each whole record.
func NewReader(o ScannerOptions, onRecord RecordFunc) *Reader {
	r := &Reader{sink: sink{onRecord: onRecord}}
	r.Scanner = *NewScanner(o)
	r.Scanner.sink = &r.sink
	return r
}

// Want sets who decides which records are put together; without it all are.
func (r *Reader) Want(want WantFunc) { r.sink.want = want }

// KeptRecord is the size in bytes up to which the buffer of copied records is
// kept for the next one.
const KeptRecord = 1 << 20

// sink assembles records for a Reader. All methods accept nil, which is a
// Scanner's.
type sink struct {
	onRecord RecordFunc
	want     WantFunc // may be nil
	buf      []byte
	total    int // length of the record being assembled; of its header if no more is wanted
}

// whole hands out a record that needed no copy.
func (k *sink) whole(start, end wal.LSN, rec []byte) error {
	if k == nil {
		return nil
	}
	return k.onRecord(start, end, rec)
}

// begin takes a record's header, of RecordHeaderSize.
func (k *sink) begin(start wal.LSN, header []byte) error {
	if k == nil {
		return nil
	}
	k.total = int(binary.LittleEndian.Uint32(header))
	k.buf = append(k.buf[:0], header...)
	if k.want == nil {
		return nil
	}
	wanted, err := k.want(start, header)
	if !wanted {
		k.total = len(header)
	}
	return err
}

func (k *sink) more(part []byte) {
	if k == nil || len(k.buf) == k.total {
		return
	}
	// Doubled as append would, but never beyond what the record needs.
	if need := len(k.buf) + len(part); need > cap(k.buf) {
		grown := make([]byte, len(k.buf), min(max(2*cap(k.buf), need), max(k.total, need)))
		copy(grown, k.buf)
		k.buf = grown
	}
	k.buf = append(k.buf, part...)
}

func (k *sink) finish(start, end wal.LSN) error {
	if k == nil {
		return nil
	}
	rec := k.buf
	k.discard()
	return k.onRecord(start, end, rec)
}

func (k *sink) discard() {
	if k == nil {
		return
	}
	if cap(k.buf) > KeptRecord {
		k.buf = nil
		return
	}
	k.buf = k.buf[:0]
}
