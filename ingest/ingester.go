package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"

	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// ErrNoControlFile says that a timeline has no control file: nothing was
// imported into it.
var ErrNoControlFile = errors.New("timeline has no control file; import a base backup first")

// Options are what an Ingester needs to know beside its timeline.
type Options struct {
	PGVersion   uint32 // server_version_num or a major version; 0: that of the control file
	SegmentSize wal.SegmentSize
	SystemID    wal.SystemID // 0: that of the control file
	TLI         wal.TLI      // lowest that WAL may name; 0: any

	// MaxRecord is the size in bytes of the largest record that is taken apart (64
	// MiB); it may need three times as much for a moment. PostgreSQL's own are
	// smaller, but for commits of millions of subtransactions or dropped relations.
	// Logical messages are not kept, so that they may have any size.
	MaxRecord int
	Workers   int          // goroutines that take records apart (GOMAXPROCS)
	Logger    *slog.Logger // discards
	Metrics   *Metrics     // not registered
}

func (o *Options) setDefaults() {
	if o.MaxRecord <= 0 {
		o.MaxRecord = defaultMaxRecord
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
}

// Ingester takes the WAL of one timeline. One goroutine uses it at a time.
type Ingester struct {
	tl     *pagestore.Timeline
	o      Options
	reader *walrecord.Reader
	err    error // Sticky: what was read may not have been put.

	// Of the Feed in progress.
	ctx     context.Context
	feedAt  wal.LSN
	feed    []byte
	current *chunk
	pending []*chunk // being taken apart, oldest first
	free    []*chunk

	state      state
	out        output
	commits    []Commit // that are not in the index yet
	forgotten  wal.LSN  // events below have been given up
	sizes      sizes
	slrus      slrus
	value      pagestore.Value // of lookups
	customSeen bool
	copyBytes  int // of a copied database are put at a time
	// partEntries of a large record are put at a time.
	partEntries int
	changed     []walrecord.RelFile
	rec         walrecord.Record
}

// New makes the Ingester of a timeline that a base was imported into. It goes on
// at Position.
func New(ctx context.Context, tl *pagestore.Timeline, o Options) (*Ingester, error) {
	o.setDefaults()
	in := &Ingester{tl: tl, o: o, copyBytes: defaultCopyBytes, partEntries: defaultPartEntries}
	in.sizes.known = map[relFork]relSize{}
	in.slrus.known = map[segment]uint32{}
	if err := tl.Abandon(ctx); err != nil {
		return nil, fmt.Errorf("start ingest into timeline %s: %w", tl.ID(), err)
	}
	if err := in.load(ctx); err != nil {
		return nil, fmt.Errorf("start ingest into timeline %s: %w", tl.ID(), err)
	}
	if o.SystemID == 0 {
		o.SystemID = in.state.control.systemID()
	}
	if o.PGVersion == 0 {
		major, err := in.state.control.major()
		if err != nil {
			return nil, fmt.Errorf("start ingest into timeline %s: %w", tl.ID(), err)
		}
		o.PGVersion = uint32(major)
	}
	in.reader = walrecord.NewReader(walrecord.ScannerOptions{
		Start: in.tl.LastLSN(), SegmentSize: o.SegmentSize, PGVersion: o.PGVersion, SystemID: o.SystemID, TLI: o.TLI,
	}, in.onRecord)
	in.reader.Want(in.want)
	return in, nil
}

const defaultMaxRecord = 64 << 20

// RecordSizeError says that a record is longer than Options.MaxRecord.
type RecordSizeError struct {
	LSN         wal.LSN // start of the record
	Size, Limit int     // bytes
}

func (e *RecordSizeError) Error() string {
	return fmt.Sprintf("WAL record at %s has %d bytes, more than the %d that there is memory for", e.LSN, e.Size, e.Limit)
}

// want says which records are put together, for the reader. It refuses those for
// which there is no memory before they take any.
func (in *Ingester) want(start wal.LSN, header []byte) (bool, error) {
	if walrecord.RmgrID(header[17]) == walrecord.RmgrLogicalMessage {
		return false, nil // Nothing of it is in pages.
	}
	if size := totalOf(header); size > in.o.MaxRecord {
		if in.err = in.finishAll(); in.err == nil { // All before it can be read.
			in.err = &RecordSizeError{LSN: start, Size: size, Limit: in.o.MaxRecord}
		}
		return false, in.err
	}
	return true, nil
}

// Position is where the next byte to be fed belongs.
func (in *Ingester) Position() wal.LSN { return in.reader.Position() }

// LastRecord is the end of the last record that was put.
func (in *Ingester) LastRecord() wal.LSN { return in.tl.LastLSN() }

// Feed takes data, which belongs at position at. When it returns nil, whole
// records in it have been put; the part of a record at its end is kept. data is
// not kept.
//
// Errors: walrecord's for bytes that are no WAL, of which whole records before
// have been put; ctx's; the timeline's. After the last two, and after a record
// that cannot be understood, the Ingester is of no use: make a new one.
func (in *Ingester) Feed(ctx context.Context, at wal.LSN, data []byte) error {
	if in.err != nil {
		return in.err
	}
	in.ctx, in.feedAt, in.feed = ctx, at, data
	defer func() { in.ctx, in.feed = nil, nil }()
	scanned := in.reader.Feed(at, data)
	if in.err == nil {
		in.err = in.finishAll()
	}
	if in.err != nil {
		in.err = fmt.Errorf("ingest into timeline %s: %w", in.tl.ID(), in.err)
		in.settle()
		return in.err
	}
	in.o.Metrics.position.Set(float64(in.tl.LastLSN()))
	if scanned != nil {
		return fmt.Errorf("ingest into timeline %s: %w", in.tl.ID(), scanned)
	}
	return nil
}

// onRecord takes a record from the reader.
func (in *Ingester) onRecord(start, end wal.LSN, rec []byte) error {
	if in.err != nil {
		return in.err
	}
	alone := standsAlone(rec)
	if alone {
		if in.err = in.finishAll(); in.err != nil {
			return in.err
		}
	}
	c := in.chunk()
	c.add(start, end, in.stable(c, start, rec))
	if !alone && c.bytes < chunkBytes {
		return nil
	}
	if alone {
		in.err = in.finishAll()
	} else {
		in.err = in.dispatch()
	}
	return in.err
}

// finishAll puts everything that was read.
func (in *Ingester) finishAll() error {
	if err := in.dispatch(); err != nil {
		return err
	}
	return in.drain(0)
}

// stable returns the bytes of a record as long as Feed runs: those of the fed
// data, or a copy if the reader had to put the record together and wants its
// memory back.
func (in *Ingester) stable(c *chunk, start wal.LSN, rec []byte) []byte {
	if len(rec) > walrecord.KeptRecord {
		return rec
	}
	if start >= in.feedAt && (start+wal.LSN(len(rec))-1).PageStart() == start.PageStart() {
		if off := int(start - in.feedAt); off+len(rec) <= len(in.feed) {
			return in.feed[off : off+len(rec)]
		}
	}
	return c.keep(rec)
}

// chunk is the chunk that takes the next record.
func (in *Ingester) chunk() *chunk {
	if in.current == nil {
		if n := len(in.free); n > 0 {
			in.current, in.free = in.free[n-1], in.free[:n-1]
		} else {
			in.current = newChunk()
		}
		in.current.major = in.reader.Major()
		in.current.settings = in.state.settings
		in.current.xidLimit = uint32(in.state.storedXID)
	}
	return in.current
}

// dispatch hands the current chunk to a goroutine, and finishes the oldest ones
// while there are enough of them. A last, only chunk is taken apart right here.
func (in *Ingester) dispatch() error {
	c := in.current
	if c == nil {
		return nil
	}
	in.current = nil
	in.pending = append(in.pending, c)
	if c.bytes < chunkBytes && len(in.pending) == 1 || in.o.Workers == 1 {
		c.encode()
		c.done <- struct{}{}
	} else {
		go func() {
			c.encode()
			c.done <- struct{}{}
		}()
	}
	return in.drain(in.o.Workers)
}

// drain finishes the oldest chunks until at most so many are left.
func (in *Ingester) drain(left int) error {
	for len(in.pending) > left {
		c := in.pending[0]
		<-c.done
		err := in.finish(c)
		in.pending = append(in.pending[:0], in.pending[1:]...)
		c.reset()
		in.free = append(in.free, c)
		if err != nil {
			return err
		}
	}
	return nil
}

// settle waits for the goroutines of chunks that will not be finished.
func (in *Ingester) settle() {
	for _, c := range in.pending {
		<-c.done
	}
	in.pending, in.current = nil, nil
}
