package ingest

import (
	"bytes"

	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Operations of resource managers Database, Tablespace and RelMap. 14 has one
// way to create a database and drops with the number that is the second one
// since.
const (
	databaseCopy   = 0x00
	databaseCreate = 0x10
	databaseDrop   = 0x20
	databaseDrop14 = 0x10

	tablespaceCreate = 0x00
	tablespaceDrop   = 0x10

	// maxRelMap bounds pg_filenode.map: 512 bytes, 524 from version 16 on.
	maxRelMap = 8192
)

// place is a database's folder in a tablespace.
type place struct{ space, db uint32 }

func (in *Ingester) database(r *walrecord.Record) error {
	b := walrecord.NewCursor(r.MainData)
	op := r.Op()
	if r.Major == 14 && op == databaseDrop14 {
		op = databaseDrop
	}
	switch op {
	case databaseCopy:
		db, space, sourceDB, sourceSpace := b.U32(), b.U32(), b.U32(), b.U32()
		if b.Bad {
			return errTruncated
		}
		in.eventDatabase(r, EventDatabaseCreated, 0, place{space, db})
		return in.copyDatabase(place{sourceSpace, sourceDB}, place{space, db}, r)
	case databaseCreate:
		db, space := b.U32(), b.U32()
		if b.Bad {
			return errTruncated
		}
		in.eventDatabase(r, EventDatabaseCreated, 0, place{space, db})
		in.add(pagekey.Database(space, db), r.End, pagestore.Image, nil)
		return nil
	case databaseDrop:
		db := b.U32()
		spaces := b.Counted(4)
		if b.Bad {
			return errTruncated
		}
		for n, s := uint32(0), walrecord.NewCursor(spaces); len(s.Rest) > 0; n++ {
			at := place{s.U32(), db}
			in.eventDatabase(r, EventDatabaseDropped, n, at)
			in.dropDatabase(at, r.End)
		}
		return nil
	}
	return errUnknown
}

// dropDatabase removes everything of a database in a tablespace.
func (in *Ingester) dropDatabase(p place, lsn wal.LSN) {
	in.dropRelations(p, lsn)
	in.add(pagekey.RelMap(p.space, p.db), lsn, pagestore.Tombstone, nil)
	in.add(pagekey.Database(p.space, p.db), lsn, pagestore.Tombstone, nil)
}

func (in *Ingester) dropRelations(p place, lsn wal.LSN) {
	for f := range in.sizes.known {
		if f.rel.Tablespace == p.space && f.rel.Database == p.db {
			in.sizes.known[f] = relSize{}
		}
	}
	in.drop(pagekey.RelationsOf(p.space, p.db), lsn)
	in.drop(pagekey.DatabaseBlocks(p.space, p.db), lsn)
}

func (in *Ingester) tablespace(r *walrecord.Record) error {
	b := walrecord.NewCursor(r.MainData)
	oid := b.U32()
	if b.Bad {
		return errTruncated
	}
	switch r.Op() {
	case tablespaceCreate:
		path, _, ok := bytes.Cut(b.Rest, []byte{0})
		if !ok {
			return errTruncated
		}
		in.addCopy(pagekey.Tablespace(oid), r.End, path)
	case tablespaceDrop:
		in.add(pagekey.Tablespace(oid), r.End, pagestore.Tombstone, nil)
	default:
		return errUnknown
	}
	return nil
}

func (in *Ingester) relMap(r *walrecord.Record) error {
	b := walrecord.NewCursor(r.MainData)
	db, space, size := b.U32(), b.U32(), b.U32()
	if size > maxRelMap {
		return errTruncated
	}
	content := b.Bytes(int(size))
	if b.Bad {
		return errTruncated
	}
	in.addCopy(pagekey.RelMap(space, db), r.End, content)
	in.eventRelMap(r, place{space, db})
	return nil
}
