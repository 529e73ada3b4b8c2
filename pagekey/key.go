package pagekey

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Class is what kind of thing a key names: its first byte.
type Class uint8

// The classes of keys. The numbers are part of the stored format.
const (
	ClassDatabase    Class = 1
	ClassRelation    Class = 2 // size of a fork in blocks; its existence
	ClassBlock       Class = 3
	ClassSLRUSegment Class = 4 // size of a segment in pages
	ClassSLRUPage    Class = 5
	ClassTwoPhase    Class = 6
	ClassSpecial     Class = 7
	ClassEvent       Class = 8
)

// SLRU is one of the server's simple LRU areas. The first three numbers are
// those of page requests.
type SLRU uint8

// The SLRUs whose contents WAL describes. Subtransactions, notifications and
// serializable reads start empty with each server.
const (
	CLOG             SLRU = 0 // pg_xact
	MultiXactMembers SLRU = 1
	MultiXactOffsets SLRU = 2
	CommitTS         SLRU = 3
	numSLRU          SLRU = 4
)

// SLRUSegmentPages is the number of pages of an SLRU's segment file
// (SLRU_PAGES_PER_SEGMENT).
const SLRUSegmentPages = 32

// Dir is the SLRU's folder in the data directory.
func (s SLRU) Dir() string {
	switch s {
	case CLOG:
		return "pg_xact"
	case MultiXactMembers:
		return "pg_multixact/members"
	case MultiXactOffsets:
		return "pg_multixact/offsets"
	case CommitTS:
		return "pg_commit_ts"
	}
	return fmt.Sprintf("slru%d", uint8(s))
}

// Special is the kind of a key of class special.
type Special uint8

// The special files and states. The numbers are part of the stored format.
const (
	SpecialControlFile Special = 1 // pg_control as of the last checkpoint, without the zeroes at its end
	SpecialCheckpoint  Special = 2 // CheckPoint as a checkpoint now would write it; nextXid is rounded up
	SpecialRelMap      Special = 3 // pg_filenode.map of (tablespace, database)
	SpecialOrigin      Special = 4 // replication origin Number: remote and local LSN
	SpecialTablespace  Special = 5 // location of tablespace Number, empty for one in place
	SpecialState       Special = 6 // what ingest must know to go on; Number says which
)

const (
	atKind  = 1
	atSpace = 4
	atDB    = 8
	atRel   = 12
	atFork  = 16
	atBlock = 20
)

func key(c Class, kind uint8, space, db, rel, fork, block uint32) (k pagestore.Key) {
	k[0], k[atKind+2] = byte(c), kind
	binary.BigEndian.PutUint32(k[atSpace:], space)
	binary.BigEndian.PutUint32(k[atDB:], db)
	binary.BigEndian.PutUint32(k[atRel:], rel)
	binary.BigEndian.PutUint32(k[atFork:], fork)
	binary.BigEndian.PutUint32(k[atBlock:], block)
	return k
}

// Database is the key of a database's folder in a tablespace.
func Database(space, db uint32) pagestore.Key {
	return key(ClassDatabase, 0, space, db, 0, 0, 0)
}

// RelationSize is the key of a fork's size.
func RelationSize(rel walrecord.RelFile, fork walrecord.Fork) pagestore.Key {
	return key(ClassRelation, 0, rel.Tablespace, rel.Database, rel.Relation, uint32(fork), 0)
}

// Block is the key of a page of a relation.
func Block(rel walrecord.RelFile, fork walrecord.Fork, block uint32) pagestore.Key {
	return key(ClassBlock, 0, rel.Tablespace, rel.Database, rel.Relation, uint32(fork), block)
}

// SLRUSegment is the key of the size of a segment file.
func SLRUSegment(s SLRU, segment uint32) pagestore.Key {
	return key(ClassSLRUSegment, uint8(s), 0, 0, segment, 0, 0)
}

// SLRUPage is the key of a page, counted over all segments.
func SLRUPage(s SLRU, page uint64) pagestore.Key {
	return key(ClassSLRUPage, uint8(s), 0, 0, uint32(page/SLRUSegmentPages), 0, uint32(page%SLRUSegmentPages))
}

// TwoPhase is the key of a prepared transaction's state file. Of two
// transactions that are prepared at a time no two share a 32-bit xid; the file's
// name since 17 has the epoch, too, which follows from the next xid.
func TwoPhase(xid uint32) pagestore.Key { return key(ClassTwoPhase, 0, 0, 0, xid, 0, 0) }

// ControlFile is the key of pg_control.
func ControlFile() pagestore.Key { return key(ClassSpecial, uint8(SpecialControlFile), 0, 0, 0, 0, 0) }

// Checkpoint is the key of the running CheckPoint.
func Checkpoint() pagestore.Key { return key(ClassSpecial, uint8(SpecialCheckpoint), 0, 0, 0, 0, 0) }

// RelMap is the key of pg_filenode.map; that of the shared catalogs has the
// tablespace pg_global (1664) and database 0.
func RelMap(space, db uint32) pagestore.Key {
	return key(ClassSpecial, uint8(SpecialRelMap), space, db, 0, 0, 0)
}

// Origin is the key of a replication origin's progress.
func Origin(id uint16) pagestore.Key {
	return key(ClassSpecial, uint8(SpecialOrigin), 0, 0, uint32(id), 0, 0)
}

// Tablespace is the key of a tablespace's location.
func Tablespace(oid uint32) pagestore.Key {
	return key(ClassSpecial, uint8(SpecialTablespace), 0, 0, oid, 0, 0)
}

// State is the key of a state that ingest keeps.
func State(number uint32) pagestore.Key {
	return key(ClassSpecial, uint8(SpecialState), 0, 0, number, 0, 0)
}

// Event is the key of what happened at an LSN; kinds are the ingest package's.
// n tells apart several events of one record.
func Event(kind uint8, at wal.LSN, n uint32) pagestore.Key {
	return key(ClassEvent, kind, uint32(at>>32), uint32(at), n, 0, 0)
}

// Ref is what a key names.
type Ref struct {
	Class   Class
	Rel     walrecord.RelFile // classes 1 to 3; relation maps
	Fork    walrecord.Fork
	Block   uint32
	SLRU    SLRU
	Segment uint32 // classes 4 and 5
	Page    uint64 // class 5: number over all segments
	Special Special
	Number  uint32 // class 6: xid; class 7: as Special says; class 8: number within the record
	Kind    uint8  // class 8
	LSN     wal.LSN
}

// Parse takes a key apart. Keys that no function of this package makes are
// refused.
func Parse(k pagestore.Key) (Ref, error) {
	f := func(at int) uint32 { return binary.BigEndian.Uint32(k[at:]) }
	r := Ref{Class: Class(k[0])}
	rel := walrecord.RelFile{Tablespace: f(atSpace), Database: f(atDB), Relation: f(atRel)}
	kind := k[atKind+2]
	var again pagestore.Key
	switch r.Class {
	case ClassDatabase:
		r.Rel = rel
		again = Database(rel.Tablespace, rel.Database)
	case ClassRelation:
		r.Rel, r.Fork = rel, walrecord.Fork(f(atFork))
		again = RelationSize(rel, r.Fork)
	case ClassBlock:
		r.Rel, r.Fork, r.Block = rel, walrecord.Fork(f(atFork)), f(atBlock)
		again = Block(rel, r.Fork, r.Block)
	case ClassSLRUSegment:
		r.SLRU, r.Segment = SLRU(kind), rel.Relation
		again = SLRUSegment(r.SLRU, r.Segment)
	case ClassSLRUPage:
		r.SLRU, r.Segment, r.Block = SLRU(kind), rel.Relation, f(atBlock)
		r.Page = uint64(r.Segment)*SLRUSegmentPages + uint64(r.Block)
		again = SLRUPage(r.SLRU, r.Page)
	case ClassTwoPhase:
		r.Number = rel.Relation
		again = TwoPhase(r.Number)
	case ClassSpecial:
		r.Special, r.Number = Special(kind), rel.Relation
		r.Rel = walrecord.RelFile{Tablespace: rel.Tablespace, Database: rel.Database}
		again = key(ClassSpecial, kind, rel.Tablespace, rel.Database, r.Number, 0, 0)
	case ClassEvent:
		r.Kind, r.Number = kind, rel.Relation
		r.LSN = wal.LSN(uint64(rel.Tablespace)<<32 | uint64(rel.Database))
		again = Event(kind, r.LSN, r.Number)
	}
	if again != k || k == (pagestore.Key{}) {
		return Ref{}, fmt.Errorf("no key of a PostgreSQL cluster: %s", k)
	}
	return r, nil
}

// Databases is the range of all databases' folders.
func Databases() pagestore.KeyRange { return class(ClassDatabase, 0) }

// Relations is the range of the sizes of all relations' forks.
func Relations() pagestore.KeyRange { return class(ClassRelation, 0) }

// TwoPhases is the range of all prepared transactions.
func TwoPhases() pagestore.KeyRange { return class(ClassTwoPhase, 0) }

// Origins is the range of all replication origins.
func Origins() pagestore.KeyRange { return class(ClassSpecial, uint8(SpecialOrigin)) }

// RelMaps is the range of all relation maps.
func RelMaps() pagestore.KeyRange { return class(ClassSpecial, uint8(SpecialRelMap)) }

// SLRUSegments is the range of the sizes of an SLRU's segments.
func SLRUSegments(s SLRU) pagestore.KeyRange { return class(ClassSLRUSegment, uint8(s)) }

// SegmentPages is the range of the pages of one segment.
func SegmentPages(s SLRU, segment uint32) pagestore.KeyRange {
	last := key(ClassSLRUPage, uint8(s), 0, 0, segment, math.MaxUint32, math.MaxUint32)
	return pagestore.KeyRange{Start: key(ClassSLRUPage, uint8(s), 0, 0, segment, 0, 0), End: last.Next()}
}

// RelationsOf is the range of the sizes of a database's relations in a
// tablespace.
func RelationsOf(space, db uint32) pagestore.KeyRange { return database(ClassRelation, space, db) }

// DatabaseBlocks is the range of all pages of a database in a tablespace.
func DatabaseBlocks(space, db uint32) pagestore.KeyRange { return database(ClassBlock, space, db) }

// BlocksOf is the range of all pages of a relation, of every fork.
func BlocksOf(rel walrecord.RelFile) pagestore.KeyRange { return relation(ClassBlock, rel) }

// BlocksFrom is the range of the pages of a fork from a block on.
func BlocksFrom(rel walrecord.RelFile, fork walrecord.Fork, block uint32) pagestore.KeyRange {
	last := Block(rel, fork, math.MaxUint32)
	return pagestore.KeyRange{Start: Block(rel, fork, block), End: last.Next()}
}

// Events is the range of the events of a kind after one LSN up to another, both
// as Event's.
func Events(kind uint8, after, upTo wal.LSN) pagestore.KeyRange {
	first, last := Event(kind, after, math.MaxUint32), Event(kind, upTo, math.MaxUint32)
	return pagestore.KeyRange{Start: first.Next(), End: last.Next()}
}

func class(c Class, kind uint8) pagestore.KeyRange {
	last := key(c, kind, math.MaxUint32, math.MaxUint32, math.MaxUint32, math.MaxUint32, math.MaxUint32)
	return pagestore.KeyRange{Start: key(c, kind, 0, 0, 0, 0, 0), End: last.Next()}
}

func database(c Class, space, db uint32) pagestore.KeyRange {
	last := key(c, 0, space, db, math.MaxUint32, math.MaxUint32, math.MaxUint32)
	return pagestore.KeyRange{Start: key(c, 0, space, db, 0, 0, 0), End: last.Next()}
}

func relation(c Class, rel walrecord.RelFile) pagestore.KeyRange {
	last := key(c, 0, rel.Tablespace, rel.Database, rel.Relation, math.MaxUint32, math.MaxUint32)
	return pagestore.KeyRange{
		Start: key(c, 0, rel.Tablespace, rel.Database, rel.Relation, 0, 0),
		End:   last.Next(),
	}
}
