package ingest

import (
	"fmt"

	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/redo"
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

const (
	// chunkBytes of WAL are taken apart at a time: enough to be worth a
	// goroutine, few enough that all processors have work.
	chunkBytes = 128 << 10
	// keepBytes is the size in bytes up to which a chunk's memory is kept.
	keepBytes = 8 << 20
)

// rawRecord is a record as it came.
type rawRecord struct {
	start, end wal.LSN
	bytes      []byte
}

// relFork names a fork of a relation.
type relFork struct {
	rel  walrecord.RelFile
	fork walrecord.Fork
}

// mark is something between two entries of a chunk that must be decided in the
// order of WAL.
type mark struct {
	kind   markKind
	at     int // entries before it
	record int // its record
	// Of markBlock: the fork has a block of this number.
	fork  relFork
	block uint32
}

type markKind uint8

const (
	markBlock  markKind = iota // a block was changed that may lie beyond the size
	markRecord                 // the record's other effects
	markXID                    // the record's xid may be a new one
)

// chunk is a run of records and what they become. All of its memory is reused.
type chunk struct {
	records []rawRecord
	kept    []byte // of records that the reader had to put together
	bytes   int

	major    int
	settings redo.Options
	xidLimit uint32 // xids below it need no mark

	entries []pagestore.Entry
	marks   []mark
	arena   []byte // of the entries' values
	seen    map[relFork]uint32
	last    relFork // the fork seen last, and what seen says of it
	lastMax uint32
	lastOK  bool
	rec     walrecord.Record
	clears  []redo.VisibilityClear
	page    page.Page
	custom  walrecord.RmgrID // a custom resource manager whose records are in it
	customs int
	err     error
	done    chan struct{}
}

func newChunk() *chunk {
	return &chunk{seen: map[relFork]uint32{}, done: make(chan struct{}, 1)}
}

func (c *chunk) add(start, end wal.LSN, rec []byte) {
	c.records = append(c.records, rawRecord{start, end, rec})
	c.bytes += totalOf(rec)
}

// keep copies a record into the chunk.
func (c *chunk) keep(rec []byte) []byte {
	at := len(c.kept)
	c.kept = append(c.kept, rec...) // Grown memory leaves the slices of the old one valid.
	return c.kept[at:len(c.kept):len(c.kept)]
}

func (c *chunk) reset() {
	if cap(c.kept) > keepBytes {
		c.kept = nil
	}
	if cap(c.arena) > keepBytes {
		c.arena = nil
	}
	clear(c.seen)
	*c = chunk{
		records: c.records[:0], kept: c.kept[:0], entries: c.entries[:0], marks: c.marks[:0], arena: c.arena[:0],
		seen: c.seen, rec: walrecord.Record{Blocks: c.rec.Blocks[:0]}, clears: c.clears[:0], done: c.done,
	}
}

// encode takes all records apart.
func (c *chunk) encode() {
	for i := range c.records {
		r := &c.records[i]
		c.rec.Major = c.major
		if len(r.bytes) < totalOf(r.bytes) { // Its header alone was wanted.
			c.newXID(i, xidOf(r.bytes))
			continue
		}
		err := walrecord.Decode(r.bytes, r.start, r.end, &c.rec)
		if err == nil {
			err = c.record(i)
		}
		if err != nil {
			c.err = fmt.Errorf("record %s at %s: %w", c.name(), r.start, err)
			return
		}
	}
}

// newXID marks a record whose xid is higher than those before.
func (c *chunk) newXID(record int, xid uint32) {
	if int32(xid-c.xidLimit) >= 0 && xid != 0 {
		c.xidLimit = xid + 1
		c.mark(mark{kind: markXID, record: record})
	}
}

func (c *chunk) name() string { return c.rec.RMID.String() + "/" + walrecord.Identify(&c.rec) }

func (c *chunk) record(i int) error {
	r := &c.rec
	c.newXID(i, r.XID)
	for b := range r.Blocks {
		if err := c.block(i, b); err != nil {
			return fmt.Errorf("block %d: %w", b, err)
		}
	}
	switch {
	case r.RMID == walrecord.RmgrHeap, r.RMID == walrecord.RmgrHeap2:
		c.clearMaps(i)
	case r.RMID > walrecord.RmgrLogicalMessage:
		c.custom = r.RMID
		c.customs++
	}
	if needsOrder(r) {
		c.mark(mark{kind: markRecord, record: i})
		clear(c.seen) // It may cut or drop relations.
		c.lastOK = false
	}
	return nil
}

// block stores what the record does to one of its blocks.
func (c *chunk) block(record, index int) error {
	r := &c.rec
	b := &r.Blocks[index]
	kind := pagestore.Delta
	at := len(c.arena)
	switch {
	case b.HasImage && b.Image.Apply:
		kind = pagestore.Image
		if err := c.image(index); err != nil {
			return err
		}
	case r.RMID == walrecord.RmgrXLOG:
		return nil // FPI_FOR_HINT of a page that needed no image.
	default:
		if b.WillInit {
			kind = pagestore.InitDelta
		}
		c.arena = pagekey.AppendRecord(c.arena, r, index, c.settings)
	}
	c.touch(record, b.Rel, b.Fork, b.Block)
	c.entry(pagekey.Block(b.Rel, b.Fork, b.Block), r.End, kind, at)
	return nil
}

// entry adds an entry whose value is what the arena got since at.
func (c *chunk) entry(key pagestore.Key, lsn wal.LSN, kind pagestore.Kind, at int) {
	c.entries = append(c.entries, pagestore.Entry{Key: key, LSN: lsn, Kind: kind, Value: c.arena[at:len(c.arena):len(c.arena)]})
}

// image stores the page after the record, which brings it whole.
func (c *chunk) image(index int) error {
	r := &c.rec
	b := &r.Blocks[index]
	if r.RMID != walrecord.RmgrHash && r.RMID != walrecord.RmgrGist {
		var ok bool
		if c.arena, ok = pagekey.AppendImage(c.arena, &b.Image, r.End); ok {
			c.arena = pagekey.AppendCause(c.arena, r)
			return nil
		}
	}
	if err := redo.Apply(&c.page, r, index, c.settings); err != nil {
		return err
	}
	c.arena = pagekey.AppendCause(pagekey.AppendPage(c.arena, &c.page), r)
	return nil
}

// clearMaps stores what a heap record does to the visibility map without
// referencing it.
func (c *chunk) clearMaps(record int) {
	c.clears = redo.AppendVisibilityClears(c.clears[:0], &c.rec)
	for i := range c.clears {
		v := &c.clears[i]
		at := len(c.arena)
		c.arena = pagekey.AppendMapClear(c.arena, v)
		c.touch(record, v.Rel, walrecord.ForkVM, v.MapBlock)
		c.entry(pagekey.Block(v.Rel, walrecord.ForkVM, v.MapBlock), c.rec.End, pagestore.Delta, at)
	}
}

// touch marks a block unless the chunk has seen a higher one of the fork.
func (c *chunk) touch(record int, rel walrecord.RelFile, fork walrecord.Fork, block uint32) {
	f := relFork{rel, fork}
	if !c.lastOK || c.last != f {
		most, ok := c.seen[f]
		if !ok {
			c.see(record, f, block)
			return
		}
		c.last, c.lastMax, c.lastOK = f, most, true
	}
	if block > c.lastMax {
		c.see(record, f, block)
	}
}

func (c *chunk) see(record int, f relFork, block uint32) {
	c.seen[f] = block
	c.last, c.lastMax, c.lastOK = f, block, true
	c.mark(mark{kind: markBlock, record: record, fork: f, block: block})
}

func (c *chunk) mark(m mark) {
	m.at = len(c.entries)
	c.marks = append(c.marks, m)
}
