package ingest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// defaultCopyBytes of a copied database are put at a time.
const defaultCopyBytes = 24 << 20

// errCopyTooLarge says that a database is larger than its record has LSNs for.
var errCopyTooLarge = errors.New("database is too large to be copied by one record")

// dbCopy is Database/CREATE_FILE_COPY. A batch holds the whole of an LSN and is
// bounded, so that a large database is put under several LSNs inside of the
// record, which nobody else asks for; its end then completes it. stateCopy says
// where the record's WAL is to be fed again if a crash comes between them.
type dbCopy struct {
	in       *Ingester
	from, to place
	resume   wal.LSN // where ingest goes on after a crash
	lsn      wal.LSN // of what is put next
	end      wal.LSN // of the record
	replay   pagekey.Replayer
	page     page.Page
}

// copyDatabase copies a database's files as they are before the record. The
// server has written all of it by then, and lets nobody change it; the record
// stands alone, so that all before it has been put.
func (in *Ingester) copyDatabase(from, to place, r *walrecord.Record) error {
	// What the record did so far belongs to its end.
	held := slices.Clone(in.out.entries)
	for i := range held {
		held[i].Value = slices.Clone(held[i].Value)
	}
	in.out = output{entries: in.out.entries[:0], arena: in.out.arena[:0]}
	c := &dbCopy{in: in, from: from, to: to, resume: in.resume(), lsn: in.tl.LastLSN() + 1, end: r.End}
	if c.lsn > c.end {
		return errCopyTooLarge
	}
	in.dropDatabase(to, c.lsn)
	if err := c.contents(); err != nil {
		return fmt.Errorf("copy database %d: %w", from.db, err)
	}
	if err := c.relMap(); err != nil {
		return fmt.Errorf("copy database %d: %w", from.db, err)
	}
	// The rest has the record's own LSN, like everything if that was little.
	for i := range in.out.entries {
		in.out.entries[i].LSN = r.End
	}
	if in.state.copying != 0 {
		in.state.copying = 0
		in.putState(stateCopy, r.End, 0)
	}
	in.add(pagekey.Database(to.space, to.db), r.End, pagestore.Image, nil)
	in.out.entries = append(in.out.entries, held...)
	return nil
}

// resume is where ingest would go on after a crash.
func (in *Ingester) resume() wal.LSN {
	if in.state.copying != 0 {
		return in.state.copying
	}
	return in.tl.LastLSN()
}

func (c *dbCopy) contents() error {
	in := c.in
	err := c.scan(pagekey.RelationsOf(c.from.space, c.from.db), func(ref *pagekey.Ref, v *pagestore.Value) error {
		blocks, err := pagekey.ParseSize(v.Image)
		if err == nil {
			in.setSize(relFork{c.target(ref), ref.Fork}, blocks, c.lsn)
		}
		return err
	})
	if err != nil {
		return err
	}
	return c.scan(pagekey.DatabaseBlocks(c.from.space, c.from.db), c.block)
}

func (c *dbCopy) target(ref *pagekey.Ref) walrecord.RelFile {
	return walrecord.RelFile{Tablespace: c.to.space, Database: c.to.db, Relation: ref.Rel.Relation}
}

// block copies a page. One that only an extension could make is copied as what
// it is made of, so that reading it says why.
func (c *dbCopy) block(ref *pagekey.Ref, v *pagestore.Value) error {
	in := c.in
	key := pagekey.Block(c.target(ref), ref.Fork, ref.Block)
	err := c.replay.Page(pagekey.Block(ref.Rel, ref.Fork, ref.Block), v, &c.page)
	switch {
	case err == nil:
		at := len(in.out.arena)
		in.out.arena = pagekey.AppendPage(in.out.arena, &c.page)
		in.addFrom(at, key, c.lsn, pagestore.Image)
	case errors.As(err, new(*pagekey.CustomError)):
		if v.Image != nil {
			in.addCopy(key, c.lsn, v.Image)
		}
		for i := range v.Deltas {
			at := len(in.out.arena)
			in.out.arena = append(in.out.arena, v.Deltas[i].Record...)
			in.addFrom(at, key, c.lsn, pagestore.Delta)
		}
	default:
		return err
	}
	if in.out.bytes < in.copyBytes {
		return nil
	}
	return c.part()
}

// part puts what has been copied so far.
func (c *dbCopy) part() error {
	if c.lsn >= c.end {
		return errCopyTooLarge
	}
	in := c.in
	in.state.copying = c.resume
	in.putState(stateCopy, c.lsn, uint64(c.resume))
	if err := in.put(c.lsn); err != nil {
		return err
	}
	c.lsn++
	return nil
}

func (c *dbCopy) relMap() error {
	k := pagekey.RelMap(c.from.space, c.from.db)
	return c.scan(pagestore.KeyRange{Start: k, End: k.Next()}, func(_ *pagekey.Ref, v *pagestore.Value) error {
		c.in.addCopy(pagekey.RelMap(c.to.space, c.to.db), c.lsn, v.Image)
		return nil
	})
}

func (c *dbCopy) scan(r pagestore.KeyRange, f func(ref *pagekey.Ref, v *pagestore.Value) error) error {
	return c.in.tl.Scan(c.in.ctx, r, c.resume, pagestore.ScanOptions{}, func(key pagestore.Key, v *pagestore.Value) (bool, error) {
		ref, err := pagekey.Parse(key)
		if err == nil {
			err = f(&ref, v)
		}
		return err == nil, err
	})
}
