package pageread

import (
	"context"
	"errors"
	"fmt"

	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Change is one thing that happened to a page.
type Change struct {
	LSN   wal.LSN // end of the record
	Image bool    // the whole page is stored
	// Record is what changed the page, without the images and data of other
	// pages, of an image without all blocks and data. nil for changes that no record
	// references the page for, VM bits and truncation, and for images of a base
	// backup.
	Record *walrecord.Record
	Bytes  int // stored
}

// maxVisits bounds the reads that one history takes.
const maxVisits = 1 << 20

// History calls f with what is stored of a page's changes at or below at, newest
// first, down to the oldest readable LSN; f ends it by an error. The record is
// valid during the call.
func (r *Reader) History(ctx context.Context, rel walrecord.RelFile, fork walrecord.Fork, block uint32, at At, f func(Change) error) error {
	if _, err := r.Size(ctx, rel, fork, at); err != nil {
		return err
	}
	key := pagekey.Block(rel, fork, block)
	m := r.makers.Get().(*maker)
	defer r.makers.Put(m)
	floor := r.Floor()
	lsn := at.LSN
	for range maxVisits {
		err := r.o.Timeline.Get(ctx, key, lsn, &m.value)
		if errors.Is(err, pagestore.ErrNotFound) || errors.Is(err, pagestore.ErrCollected) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("history of page %s: %w", key, err)
		}
		oldest, err := changes(&m.value, f)
		if err != nil {
			return err
		}
		if lsn = oldest - 1; oldest <= floor {
			return nil
		}
	}
	return nil
}

// changes calls f with the changes of one chain, newest first, and returns the
// LSN of the oldest.
func changes(v *pagestore.Value, f func(Change) error) (oldest wal.LSN, err error) {
	var rec walrecord.Record
	for i := len(v.Deltas) - 1; i >= 0; i-- {
		d := &v.Deltas[i]
		c := Change{LSN: d.LSN, Bytes: len(d.Record)}
		_, _, ok, err := pagekey.DecodeRecord(d.Record, d.LSN, &rec)
		if err != nil {
			return 0, fmt.Errorf("record that ends at %s: %w", d.LSN, err)
		}
		if ok {
			c.Record = &rec
		}
		if err := f(c); err != nil {
			return 0, err
		}
		oldest = d.LSN
	}
	if v.Image == nil {
		return oldest, nil
	}
	c := Change{LSN: v.ImageLSN, Image: true, Bytes: len(v.Image)}
	if pagekey.ImageCause(v.Image, &rec) {
		rec.End = v.ImageLSN
		c.Record = &rec
	}
	return v.ImageLSN, f(c)
}
