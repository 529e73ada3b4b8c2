package ingest

import (
	"errors"
	"fmt"

	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// defaultCopyBytes of a copied database are put at a time.
const defaultCopyBytes = 1 << 20

// dbCopy is Database/CREATE_FILE_COPY. All of it has the LSN of its record, in as
// many batches as it takes.
type dbCopy struct {
	in       *Ingester
	from, to place
	at       wal.LSN // of the state that is copied
	lsn      wal.LSN // of the record
	replay   pagekey.Replayer
	page     page.Page
}

// copyDatabase copies a database's files as they are before the record. The
// server has written all of it by then, and lets nobody change it; the record
// stands alone, so that all before it has been put.
func (in *Ingester) copyDatabase(from, to place, r *walrecord.Record) error {
	c := &dbCopy{in: in, from: from, to: to, at: in.tl.LastLSN(), lsn: r.End}
	in.dropRelations(to, r.End)
	if err := c.contents(); err != nil {
		return fmt.Errorf("copy database %d: %w", from.db, err)
	}
	if err := c.relMap(); err != nil {
		return fmt.Errorf("copy database %d: %w", from.db, err)
	}
	in.add(pagekey.Database(to.space, to.db), r.End, pagestore.Image, nil)
	return nil
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
	return in.putPart(c.lsn)
}

// relMap copies the relation map; what a database of the same number had is gone.
func (c *dbCopy) relMap() error {
	copied := false
	k := pagekey.RelMap(c.from.space, c.from.db)
	err := c.scan(pagestore.KeyRange{Start: k, End: k.Next()}, func(_ *pagekey.Ref, v *pagestore.Value) error {
		c.in.addCopy(pagekey.RelMap(c.to.space, c.to.db), c.lsn, v.Image)
		copied = true
		return nil
	})
	if err == nil && !copied {
		c.in.add(pagekey.RelMap(c.to.space, c.to.db), c.lsn, pagestore.Tombstone, nil)
	}
	return err
}

func (c *dbCopy) scan(r pagestore.KeyRange, f func(ref *pagekey.Ref, v *pagestore.Value) error) error {
	return c.in.tl.Scan(c.in.ctx, r, c.at, pagestore.ScanOptions{}, func(key pagestore.Key, v *pagestore.Value) (bool, error) {
		ref, err := pagekey.Parse(key)
		if err == nil {
			err = f(&ref, v)
		}
		return err == nil, err
	})
}
