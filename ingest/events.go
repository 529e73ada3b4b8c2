package ingest

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/walhaven/walhaven/internal/pgdata"
	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// EventKind is what an event of the index says. The numbers are part of the
// stored format.
type EventKind uint8

// The kinds of events.
const (
	EventCommit          EventKind = 1 // a list of commits; LSN, Time and XID are the newest one's
	EventDrop            EventKind = 2 // a commit that removed files: DROP, and rewrites of any kind
	EventTruncate        EventKind = 3 // TRUNCATE, as wal_level=logical tells it: Rel.Relation is the table's OID
	EventCut             EventKind = 4 // files cut: by vacuum, and by TRUNCATE of a table made in the same transaction
	EventCreate          EventKind = 5 // a new relfilenumber
	EventRelMap          EventKind = 6 // relfilenumbers of mapped catalogs changed
	EventRestorePoint    EventKind = 7
	EventCheckpoint      EventKind = 8
	EventGap             EventKind = 9  // a record was cut short by a crash and given up
	EventTimeline        EventKind = 10 // recovery ended on a new TLI
	EventDatabaseCreated EventKind = 11
	EventDatabaseDropped EventKind = 12
	EventCatalog         EventKind = 13 // a commit that changed what the catalogs say of relations: Rels have database and OID
	lastEvent                      = EventCatalog
)

var eventNames = [...]string{
	"", "commit", "drop", "truncate", "cut", "create", "relation map", "restore point", "checkpoint", "gap", "timeline",
	"create database", "drop database", "catalog",
}

func (k EventKind) String() string {
	if k > 0 && k <= lastEvent {
		return eventNames[k]
	}
	return fmt.Sprintf("event %d", uint8(k))
}

// event adds an event of a kind of which a record makes one.
func (in *Ingester) event(kind EventKind, r *walrecord.Record, at wal.Timestamp, xid uint32, more func(b []byte) []byte) {
	in.eventNumber(kind, 0, r, at, xid, more)
}

// eventNumber adds the nth event of a kind that a record makes. Its value is time
// i64, xid u32, then what its kind has: relations of 12 bytes each, a name, or two
// numbers of 8 bytes.
func (in *Ingester) eventNumber(
	kind EventKind, n uint32, r *walrecord.Record, at wal.Timestamp, xid uint32, more func(b []byte) []byte,
) {
	from := len(in.out.arena)
	b := binary.LittleEndian.AppendUint64(in.out.arena, uint64(at))
	b = binary.LittleEndian.AppendUint32(b, xid)
	if more != nil {
		b = more(b)
	}
	in.out.arena = b
	in.addFrom(from, pagekey.Event(uint8(kind), r.End, n), r.End, pagestore.Image)
}

// eventCommit notes a commit for the index, and what it dropped.
func (in *Ingester) eventCommit(r *walrecord.Record, x *walrecord.TransactionEnd) {
	in.state.commitTime = max(in.state.commitTime, x.Time)
	in.commits = append(in.commits, Commit{LSN: r.End, Time: x.Time, XID: x.XID})
	for n, rest := uint32(0), x.Relations; len(rest) > 0; n++ {
		part := rest[:min(len(rest), eventRelations*walrecord.RelFileSize)]
		in.eventNumber(EventDrop, n, r, x.Time, x.XID, func(b []byte) []byte { return append(b, part...) })
		rest = rest[len(part):]
	}
	in.eventCatalog(r, x)
}

// eventRelations is how many relations one event has at most; the rest of a
// record's are in further ones.
const eventRelations = 8192

// eventCatalog notes which relations a commit told other sessions to look up
// anew: those that it made, changed or dropped, with storage or without. The
// catalogs that all databases share are left out.
func (in *Ingester) eventCatalog(r *walrecord.Record, x *walrecord.TransactionEnd) {
	in.changed = in.changed[:0]
	for m := x.Invalidations; len(m) >= walrecord.InvalSize; m = m[walrecord.InvalSize:] {
		if db, oid, ok := walrecord.ChangedRelation(m); ok && db != 0 {
			in.changed = append(in.changed, walrecord.RelFile{Database: db, Relation: oid})
		}
	}
	slices.SortFunc(in.changed, func(a, b walrecord.RelFile) int {
		return cmp.Or(cmp.Compare(a.Database, b.Database), cmp.Compare(a.Relation, b.Relation))
	})
	n := uint32(0)
	for part := range slices.Chunk(slices.Compact(in.changed), eventRelations) {
		in.eventNumber(EventCatalog, n, r, x.Time, x.XID, func(b []byte) []byte {
			for _, rel := range part {
				b = appendRel(b, rel)
			}
			return b
		})
		n++
	}
	if cap(in.changed) > eventRelations {
		in.changed = nil
	}
}

func appendRel(b []byte, rel walrecord.RelFile) []byte {
	b = binary.LittleEndian.AppendUint32(b, rel.Tablespace)
	b = binary.LittleEndian.AppendUint32(b, rel.Database)
	return binary.LittleEndian.AppendUint32(b, rel.Relation)
}

// eventTruncate is Heap/TRUNCATE: database, number of tables, flags, OIDs at 12.
func (in *Ingester) eventTruncate(r *walrecord.Record) error {
	b := walrecord.NewCursor(r.MainData)
	db, n := b.U32(), b.U32()
	b.Bytes(4)
	if uint64(n)*4 > uint64(len(b.Rest)) {
		return errTruncated
	}
	oids := b.Bytes(int(n) * 4)
	if b.Bad {
		return errTruncated
	}
	number := uint32(0)
	for part := range slices.Chunk(oids, 4*eventRelations) {
		in.eventNumber(EventTruncate, number, r, in.state.commitTime, r.XID, func(out []byte) []byte {
			for o := walrecord.NewCursor(part); len(o.Rest) > 0; {
				out = appendRel(out, walrecord.RelFile{Database: db, Relation: o.U32()})
			}
			return out
		})
		number++
	}
	return nil
}

func (in *Ingester) eventCreate(r *walrecord.Record, rel walrecord.RelFile) {
	in.event(EventCreate, r, in.state.commitTime, r.XID, func(b []byte) []byte { return appendRel(b, rel) })
}

func (in *Ingester) eventCut(r *walrecord.Record, rel walrecord.RelFile, blocks uint32) {
	in.event(EventCut, r, in.state.commitTime, r.XID, func(b []byte) []byte {
		return binary.LittleEndian.AppendUint32(appendRel(b, rel), blocks)
	})
}

func (in *Ingester) eventRelMap(r *walrecord.Record, p place) {
	in.event(EventRelMap, r, in.state.commitTime, r.XID, func(b []byte) []byte {
		return appendRel(b, walrecord.RelFile{Tablespace: p.space, Database: p.db})
	})
}

// eventDatabase has one event for each of a database's tablespaces.
func (in *Ingester) eventDatabase(r *walrecord.Record, kind EventKind, n uint32, p place) {
	in.eventNumber(kind, n, r, in.state.commitTime, r.XID, func(b []byte) []byte {
		return appendRel(b, walrecord.RelFile{Tablespace: p.space, Database: p.db})
	})
}

// eventRestorePoint: time, a name of at most 63 bytes and zeroes.
func (in *Ingester) eventRestorePoint(r *walrecord.Record) error {
	b := walrecord.NewCursor(r.MainData)
	at := b.Time()
	if b.Bad || len(b.Rest) > maxRestorePoint {
		return errTruncated
	}
	in.event(EventRestorePoint, r, at, r.XID, func(out []byte) []byte { return append(out, b.Rest...) })
	return nil
}

// maxRestorePoint bounds a restore point's name in bytes (MAXFNAMELEN).
const maxRestorePoint = 64

func (in *Ingester) eventCheckpoint(r *walrecord.Record, checkpoint []byte) {
	// A checkpoint has the second in which it began (pg_time_t).
	seconds := int64(binary.LittleEndian.Uint64(checkpoint[pgdata.CheckPointTime:]))
	at := wal.Timestamp((seconds - postgresEpoch) * 1_000_000)
	in.event(EventCheckpoint, r, at, 0, func(b []byte) []byte {
		b = append(b, checkpoint[pgdata.CheckPointRedo:pgdata.CheckPointRedo+8]...)
		return binary.LittleEndian.AppendUint64(b, uint64(r.Op()))
	})
}

// forgetEvents ends events that lie below the cutoff of garbage collection, at a
// checkpoint since it moved: nobody will read there. The last list of commits
// below it stays, as the state at the cutoff is that of its newest one; so do
// kinds of which there are few, and checkpoints, which raw WAL is kept by.
func (in *Ingester) forgetEvents(lsn wal.LSN) error {
	cutoff := in.tl.CutoffLSN()
	if cutoff <= in.forgotten {
		return nil
	}
	list, found, err := lastList(in.ctx, in.tl, cutoff)
	if err != nil {
		return err
	}
	if found {
		in.drop(pagekey.Events(uint8(EventCommit), 0, list.LSN-1), lsn)
	}
	for _, kind := range []EventKind{EventDrop, EventTruncate, EventCut, EventCreate, EventRelMap, EventCatalog} {
		in.drop(pagekey.Events(uint8(kind), 0, cutoff), lsn)
	}
	in.forgotten = cutoff
	return nil
}

const postgresEpoch = 946684800 // 2000-01-01 in Unix seconds

// eventTorn is XLOG/OVERWRITE_CONTRECORD: the LSN of the record that was given
// up, and when.
func (in *Ingester) eventTorn(r *walrecord.Record) error {
	b := walrecord.NewCursor(r.MainData)
	torn, at := b.LSN(), b.Time()
	if b.Bad {
		return errTruncated
	}
	in.eventNumbers(EventGap, r, at, uint64(torn), uint64(r.Start))
	return nil
}

func (in *Ingester) eventTimeline(r *walrecord.Record, at wal.Timestamp, tli, before uint32) {
	in.eventNumbers(EventTimeline, r, at, uint64(tli), uint64(before))
}

func (in *Ingester) eventNumbers(kind EventKind, r *walrecord.Record, at wal.Timestamp, x, y uint64) {
	in.event(kind, r, at, r.XID, func(b []byte) []byte {
		return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(b, x), y)
	})
}
