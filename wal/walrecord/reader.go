package walrecord

import "github.com/walhaven/walhaven/wal"

// RecordFunc receives a whole record: its start, its end as RecordEnd counts
// it, and its bytes from the record header on. rec is valid during the call
// only. An error stops Feed, which returns it as it is.
type RecordFunc func(start, end wal.LSN, rec []byte) error

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

// keepBuffer is the size in bytes up to which the buffer of copied records is
// kept for the next one.
const keepBuffer = 1 << 20

// sink assembles records for a Reader. All methods accept nil, which is a
// Scanner's.
type sink struct {
	onRecord RecordFunc
	buf      []byte
}

// whole hands out a record that needed no copy.
func (k *sink) whole(start, end wal.LSN, rec []byte) error {
	if k == nil {
		return nil
	}
	return k.onRecord(start, end, rec)
}

func (k *sink) begin(header []byte) {
	if k != nil {
		k.buf = append(k.buf[:0], header...)
	}
}

func (k *sink) more(part []byte) {
	if k != nil {
		k.buf = append(k.buf, part...)
	}
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
	if cap(k.buf) > keepBuffer {
		k.buf = nil
		return
	}
	k.buf = k.buf[:0]
}
