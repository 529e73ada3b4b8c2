package operator

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// WALReader gives access to a run of WAL, as *walstore.Store and
// [OpenWALFolder] do. ReadAt reads what is there: fewer bytes than asked for
// come with an error, io.EOF where WAL ends.
type WALReader interface {
	ReadAt(p []byte, at wal.LSN) (int, error)
}

// WALSource is WAL to read and where it begins.
type WALSource struct {
	WALReader
	SegmentSize wal.SegmentSize
	First       wal.LSN // first readable byte: the start of a page or of a record
}

// WaldumpStats chooses what Waldump prints.
type WaldumpStats string

// Choices of WaldumpStats.
const (
	WaldumpRecords       WaldumpStats = ""       // records, no statistics
	WaldumpStatsManagers WaldumpStats = "rmgr"   // a line a resource manager, no records
	WaldumpStatsRecords  WaldumpStats = "record" // a line a kind of record, no records
)

// WaldumpOptions says what to print of which WAL.
type WaldumpOptions struct {
	// Folder holds segments under PostgreSQL's names, .partial ones included;
	// or it is one segment file. Source is used when it is empty.
	Folder string
	Source WALSource
	TLI    wal.TLI // of a folder: the timeline to follow; 0 = the newest

	Start wal.LSN // from the first record at or after it; 0 = from the beginning
	End   wal.LSN // only records that end at or below it; 0 = all
	Limit uint64  // number of records; 0 = all

	// Follow waits until there may be WAL beyond at. It makes Waldump go on at
	// the end of WAL until the context ends, End or Limit is reached, or Follow
	// returns an error. nil stops at the end.
	Follow func(ctx context.Context, at wal.LSN) error

	Output string // "text" (default), pg_waldump's form, or "jsonl"
	Stats  WaldumpStats
}

// WaldumpResult says what was read.
type WaldumpResult struct {
	Records uint64
	Start   wal.LSN // of the first record
	End     wal.LSN // of the last record
	Stopped error   // *walrecord.EndError, or nil when End, Limit or the last byte was reached
}

// errWaldumpDone stops the reader when all that was asked for is printed.
var errWaldumpDone = errors.New("done")

// waldumpChunk is how much WAL is read at once, in bytes.
const waldumpChunk = 256 << 10

// Waldump prints records to w. Damage is an error of type
// *walrecord.CorruptionError; what came before it was printed, and the result
// is right. While following, a record that is not yet whole is waited for.
func Waldump(ctx context.Context, w io.Writer, o WaldumpOptions) (WaldumpResult, error) {
	src := o.Source
	if o.Folder != "" {
		folder, err := OpenWALFolder(o.Folder, o.TLI)
		if err != nil {
			return WaldumpResult{}, fmt.Errorf("dump WAL: %w", err)
		}
		defer folder.Close() //nolint:errcheck // Files are only read.
		src = folder.Source()
	}
	if o.Output != "" && o.Output != "text" && o.Output != "jsonl" {
		return WaldumpResult{}, fmt.Errorf("dump WAL: unknown output %q: expected text or jsonl", o.Output)
	}
	d := newWaldump(bufio.NewWriterSize(w, 64<<10), src, o)
	err := d.run(ctx)
	if printErr := d.finish(); err == nil {
		err = printErr
	}
	if err != nil {
		err = fmt.Errorf("dump WAL: %w", err)
	}
	return d.result, err
}

// waldump is one run.
type waldump struct {
	opts   WaldumpOptions
	src    WALSource
	reader *walrecord.Reader
	record walrecord.Record
	stats  walrecord.Stats
	out    *bufio.Writer
	line   []byte
	result WaldumpResult
}

func newWaldump(out *bufio.Writer, src WALSource, o WaldumpOptions) *waldump {
	d := &waldump{opts: o, src: src, out: out}
	start := max(o.Start.PageStart(), src.First)
	// A source that begins inside a page begins at a record.
	d.reader = walrecord.NewReader(walrecord.ScannerOptions{Start: start, SegmentSize: src.SegmentSize}, d.onRecord)
	return d
}

// run reads until the end of what was asked for.
func (d *waldump) run(ctx context.Context) error {
	buf := make([]byte, waldumpChunk)
	for ctx.Err() == nil {
		again, err := d.step(ctx, buf)
		if err != nil || !again {
			return err
		}
	}
	if d.opts.Follow != nil {
		return nil // Following ends this way.
	}
	return ctx.Err()
}

// step reads and prints one chunk, and waits where WAL ends for now.
func (d *waldump) step(ctx context.Context, buf []byte) (again bool, err error) {
	at := d.reader.Position()
	if d.opts.End != 0 {
		if at >= d.opts.End {
			return false, nil
		}
		buf = buf[:min(wal.LSN(len(buf)), d.opts.End-at)]
	}
	n, readErr := d.src.ReadAt(buf, at)
	if n == 0 && readErr == nil {
		readErr = io.ErrNoProgress
	}
	feedErr := d.reader.Feed(at, buf[:n])
	switch {
	case errors.Is(feedErr, errWaldumpDone):
		return false, nil
	case walrecord.IsEnd(feedErr), walrecord.IsCorruption(feedErr):
		return d.atEnd(ctx, feedErr)
	case feedErr != nil:
		return false, feedErr
	case readErr == nil || (n == len(buf) && n > 0):
		return true, nil
	case errors.Is(readErr, io.EOF):
		return d.atEnd(ctx, nil)
	}
	return false, fmt.Errorf("read WAL at %s: %w", at+wal.LSN(n), readErr)
}

// atEnd decides what the end of readable WAL, or of good WAL, means.
func (d *waldump) atEnd(ctx context.Context, why error) (again bool, err error) {
	if d.opts.Follow == nil || d.settled(why) {
		if walrecord.IsCorruption(why) {
			return false, why
		}
		d.result.Stopped = why
		return false, nil
	}
	if err := d.out.Flush(); err != nil {
		return false, err
	}
	at := d.reader.Position()
	if why != nil {
		d.reader.Rewind()
	}
	if err := d.opts.Follow(ctx, at); err != nil {
		if ctx.Err() != nil {
			return false, nil
		}
		return false, fmt.Errorf("wait for WAL after %s: %w", at, err)
	}
	if f, ok := d.src.WALReader.(*WALFolder); ok {
		// The file may have been replaced meanwhile, not only have grown.
		f.Close() //nolint:errcheck // Only read.
	}
	return true, nil
}

// settled says whether damage is final. A record that is still being written
// looks damaged as well, since bytes that are yet to come are zeros; but then
// the page after it does not exist yet.
func (d *waldump) settled(why error) bool {
	var c *walrecord.CorruptionError
	if !errors.As(why, &c) {
		return false
	}
	var head [4]byte
	if n, _ := d.src.ReadAt(head[:], c.LSN); n < len(head) {
		return false
	}
	length := wal.LSN(uint32(head[0]) | uint32(head[1])<<8 | uint32(head[2])<<16 | uint32(head[3])<<24)
	if length > walrecord.MaxRecordSize {
		length = 0
	}
	pages := length/(wal.BlockSize-walrecord.LongPageHeaderSize) + 1
	next := c.LSN.PageStart() + (pages+1)*wal.BlockSize
	if c.LSN == c.LSN.PageStart() {
		next = c.LSN + wal.BlockSize // A page header is wrong, not a record.
	}
	var page [walrecord.LongPageHeaderSize]byte
	if n, _ := d.src.ReadAt(page[:], next); n < walrecord.ShortPageHeaderSize {
		return false
	}
	h, err := walrecord.ParsePageHeader(page[:])
	return err == nil && h.PageStart == next && walrecord.MajorOfMagic(h.Magic) != 0
}

// onRecord prints or counts one record.
func (d *waldump) onRecord(start, end wal.LSN, rec []byte) error {
	if start < d.opts.Start {
		return nil
	}
	// A record that starts in the range but ends past it is cut by the range.
	if d.opts.End != 0 && d.reader.Position() > d.opts.End {
		return errWaldumpDone
	}
	d.record.Major = d.reader.Major()
	if err := walrecord.Decode(rec, start, end, &d.record); err != nil {
		return err
	}
	if d.result.Records == 0 {
		d.result.Start = start
	}
	d.result.Records++
	d.result.End = end
	if err := d.print(); err != nil {
		return err
	}
	if d.result.Records == d.opts.Limit {
		return errWaldumpDone
	}
	return nil
}
