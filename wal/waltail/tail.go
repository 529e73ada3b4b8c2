package waltail

import (
	"errors"
	"fmt"

	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Tail follows one timeline's WAL. It begins with WAL that is known to be true
// and continues it by bytes that were found on disk. It is not safe for
// concurrent use.
//
// Invariant: all bytes below Position, from the last gap on that Follow was told of,
// were either given to Follow or counted by Extend.
type Tail struct {
	scan walrecord.Scanner
	size wal.SegmentSize
	tli  wal.TLI
}

// New begins at o.Start, the start of a record or of a page. All WAL is of the
// timeline o.MaxTLI from there on, or from where Follow was given its first page.
func New(o walrecord.ScannerOptions) *Tail {
	o.ZeroPadding = true
	return &Tail{scan: *walrecord.NewScanner(o), size: o.SegmentSize, tli: o.MaxTLI}
}

// Position is that of the next byte.
func (t *Tail) Position() wal.LSN { return t.scan.Position() }

// Follow takes WAL that is known to be true, from Position on or behind a gap. Behind
// one the thread is taken up at the next page, and Extend counts nothing before a
// whole record was followed from there. The error says that the data are not what this
// package takes for WAL; then Extend counts nothing any more.
func (t *Tail) Follow(at wal.LSN, data []byte) error {
	if at > t.scan.Position() {
		page := (at + wal.BlockSize - 1).PageStart()
		if page > at+wal.LSN(len(data)) {
			return nil
		}
		t.scan.Reset(page)
		at, data = page, data[page-at:]
	}
	err := t.scan.Feed(at, data)
	var end *walrecord.EndError
	if t.scan.LastRecord() == 0 && errors.As(err, &end) {
		return nil // Here nothing begins, as in what a switch leaves of its segment. A later page may do.
	}
	if err != nil {
		return fmt.Errorf("follow WAL: %w", err)
	}
	return nil
}

// Extend returns how many of the bytes that a segment of the timeline has from
// Position on, which is where the true WAL ends, are WAL, up to the end of a record, and moves Position behind them.
// Bytes of a following segment are not looked at. Nothing is kept of disk.
func (t *Tail) Extend(disk []byte) int {
	at := t.scan.Position()
	if t.scan.Err() != nil || t.scan.LastRecord() == 0 {
		return 0 // Lost the thread, or there is none yet to continue.
	}
	end := t.size.SegmentStart(at) + wal.LSN(t.size)
	disk = disk[:min(wal.LSN(len(disk)), end-at)]
	before := t.scan.Clone()
	err := t.scan.Feed(at, disk)
	upto := t.scan.RecordEnd()
	if upto >= end || upto > at+wal.LSN(len(disk)) || walrecord.IsPadding(err) {
		// What follows the last record is not certain, or it is not all here.
		upto = t.scan.LastRecord()
	}
	if upto == t.scan.RecordEnd() && upto > at && t.sameLife(&before) {
		t.scan.Rewind()
		return int(upto - at)
	}
	t.scan = before
	if upto <= at || t.scan.Feed(at, disk[:upto-at]) != nil || !t.sameLife(&before) {
		t.scan = before
		return 0
	}
	return int(upto - at)
}

// sameLife says that what was just read was written by the server that wrote what
// is known: neither on another timeline, nor by its recovery after a crash, which
// may replace the beginning of a record that was followed.
func (t *Tail) sameLife(before *walrecord.Scanner) bool {
	return t.scan.TLI() == t.tli && t.scan.Overwritten() == before.Overwritten()
}
