package ingest

import (
	"fmt"
	"slices"

	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// putBytes of values are put at a time, whole records always.
const putBytes = 1 << 20

// output is the batch that is being put together.
type output struct {
	entries []pagestore.Entry
	arena   []byte // of values that finish makes
	bytes   int
}

// finish puts what a chunk became, deciding what depends on what came before.
func (in *Ingester) finish(c *chunk) error {
	if c.customs > 0 {
		in.reportCustom(c)
	}
	from := 0
	for i := range c.marks {
		m := &c.marks[i]
		if err := in.copyEntries(c.entries[from:m.at]); err != nil {
			return err
		}
		from = m.at
		if err := in.decide(c, m); err != nil {
			r := &c.records[m.record]
			return fmt.Errorf("record at %s: %w", r.start, err)
		}
	}
	if err := in.copyEntries(c.entries[from:]); err != nil {
		return err
	}
	if c.err != nil {
		return c.err // Whole records before the bad one need not be put: it is met again.
	}
	if len(c.records) == 0 {
		return nil
	}
	in.o.Metrics.records.Add(float64(len(c.records)))
	in.o.Metrics.bytes.Add(float64(c.bytes))
	return in.put(c.records[len(c.records)-1].end)
}

func (in *Ingester) decide(c *chunk, m *mark) error {
	r := &c.records[m.record]
	switch m.kind {
	case markBlock:
		return in.touch(m.fork, m.block, r.end)
	case markXID:
		return in.advanceXID(xidOf(r.bytes), r.end)
	}
	in.rec.Major = c.major
	if err := walrecord.Decode(r.bytes, r.start, r.end, &in.rec); err != nil {
		return err
	}
	return in.apply(&in.rec)
}

// copyEntries adds a chunk's entries to the batch; a large one is put where a
// record ends.
func (in *Ingester) copyEntries(entries []pagestore.Entry) error {
	for len(entries) > 0 {
		n := 0
		for n < len(entries) && in.out.bytes < putBytes {
			in.out.bytes += len(entries[n].Value)
			n++
		}
		in.out.entries = append(in.out.entries, entries[:n]...)
		entries = entries[n:]
		if len(entries) > 0 && entries[0].LSN > in.lastLSN() {
			if err := in.put(in.lastLSN()); err != nil {
				return err
			}
		}
		if n == 0 && len(entries) > 0 { // A record that is larger than a batch should be.
			in.out.entries = append(in.out.entries, entries[0])
			entries = entries[1:]
		}
	}
	return nil
}

// lastLSN is that of the batch's last entry.
func (in *Ingester) lastLSN() wal.LSN {
	if n := len(in.out.entries); n > 0 {
		return in.out.entries[n-1].LSN
	}
	return in.tl.LastLSN()
}

// add adds an entry whose value is in memory that stays until put.
func (in *Ingester) add(key pagestore.Key, lsn wal.LSN, kind pagestore.Kind, value []byte) {
	in.out.entries = append(in.out.entries, pagestore.Entry{Key: key, LSN: lsn, Kind: kind, Value: value})
	in.out.bytes += len(value)
}

// addFrom adds an entry whose value is what the arena got since at.
func (in *Ingester) addFrom(at int, key pagestore.Key, lsn wal.LSN, kind pagestore.Kind) {
	in.add(key, lsn, kind, in.out.arena[at:len(in.out.arena):len(in.out.arena)])
}

// addCopy adds an image with a copy of value.
func (in *Ingester) addCopy(key pagestore.Key, lsn wal.LSN, value []byte) {
	at := len(in.out.arena)
	in.out.arena = append(in.out.arena, value...)
	in.addFrom(at, key, lsn, pagestore.Image)
}

// addSize adds the entry of a size.
func (in *Ingester) addSize(key pagestore.Key, lsn wal.LSN, pages uint32) {
	at := len(in.out.arena)
	in.out.arena = pagekey.AppendSize(in.out.arena, pages)
	in.addFrom(at, key, lsn, pagestore.Image)
}

// drop adds an entry that ends the existence of a range of keys.
func (in *Ingester) drop(r pagestore.KeyRange, lsn wal.LSN) {
	in.out.entries = append(in.out.entries, pagestore.Entry{Key: r.Start, End: r.End, LSN: lsn, Kind: pagestore.Drop})
}

// put puts the batch; everything up to lsn is then in the timeline.
func (in *Ingester) put(lsn wal.LSN) error {
	if lsn <= in.tl.LastLSN() {
		return nil
	}
	in.putCommits(lsn)
	return in.putBatch(pagestore.Batch{Entries: in.out.entries, LSN: lsn})
}

// putPart puts what a large record, which stands alone, has become so far. No key
// of it may come again.
func (in *Ingester) putPart(lsn wal.LSN) error {
	return in.putBatch(pagestore.Batch{Entries: in.out.entries, LSN: lsn, More: true})
}

// Of a record that becomes more, parts are put of so many entries or bytes.
const (
	defaultPartEntries = 16 << 10
	partBytes          = 4 << 20
)

// beginParts puts what the records before the one at lsn became, so that what it
// becomes can be put in parts. Entries that it has already stay for the first one.
func (in *Ingester) beginParts(lsn wal.LSN) error {
	n := len(in.out.entries)
	for n > 0 && in.out.entries[n-1].LSN >= lsn {
		n--
	}
	if n == 0 {
		return nil
	}
	own := slices.Clone(in.out.entries[n:])
	for i := range own {
		own[i].Value = slices.Clone(own[i].Value) // The arena is used anew.
	}
	in.out.entries = in.out.entries[:n]
	if err := in.put(in.lastLSN()); err != nil {
		return err
	}
	for i := range own {
		in.out.entries = append(in.out.entries, own[i])
		in.out.bytes += len(own[i].Value)
	}
	return nil
}

// part puts what a record at lsn became since the last part, if it is enough for
// one. No key of it may come again.
func (in *Ingester) part(lsn wal.LSN) error {
	if len(in.out.entries) < in.partEntries && in.out.bytes < partBytes {
		return nil
	}
	return in.putPart(lsn)
}

func (in *Ingester) putBatch(b pagestore.Batch) error {
	if err := in.tl.Put(in.ctx, b); err != nil {
		return err
	}
	in.o.Metrics.entries.Add(float64(len(in.out.entries)))
	arena := in.out.arena[:0]
	if cap(arena) > keepBytes {
		arena = nil
	}
	in.out = output{entries: in.out.entries[:0], arena: arena}
	in.sizes.limit()
	in.slrus.limit()
	return nil
}
