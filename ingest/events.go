package ingest

import (
	"encoding/binary"
	"fmt"

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
	lastEvent                      = EventDatabaseDropped
)

var eventNames = [...]string{
	"", "commit", "drop", "truncate", "cut", "create", "relation map", "restore point", "checkpoint", "gap", "timeline",
	"create database", "drop database",
}

func (k EventKind) String() string {
	if k > 0 && k <= lastEvent {
		return eventNames[k]
	}
	return fmt.Sprintf("event %d", uint8(k))
}

// event adds an event. Its value is time i64, xid u32, then what its kind has:
// relations of 12 bytes each, a name, or two numbers of 8 bytes.
func (in *Ingester) event(kind EventKind, r *walrecord.Record, at wal.Timestamp, xid uint32, more func(b []byte) []byte) {
	from := len(in.out.arena)
	b := binary.LittleEndian.AppendUint64(in.out.arena, uint64(at))
	b = binary.LittleEndian.AppendUint32(b, xid)
	if more != nil {
		b = more(b)
	}
	in.out.arena = b
	n := uint32(0)
	for i := len(in.out.entries) - 1; i >= 0 && in.out.entries[i].LSN == r.End; i-- {
		if k := in.out.entries[i].Key; k == pagekey.Event(uint8(kind), r.End, n) {
			n++ // Only Database/DROP has several.
		}
	}
	in.addFrom(from, pagekey.Event(uint8(kind), r.End, n), r.End, pagestore.Image)
}

// eventCommit notes a commit for the index, and what it dropped.
func (in *Ingester) eventCommit(r *walrecord.Record, x *walrecord.TransactionEnd) {
	in.state.commitTime = max(in.state.commitTime, x.Time)
	in.commits = append(in.commits, Commit{LSN: r.End, Time: x.Time, XID: x.XID})
	if len(x.Relations) > 0 {
		in.event(EventDrop, r, x.Time, x.XID, func(b []byte) []byte { return append(b, x.Relations...) })
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
	in.event(EventTruncate, r, in.state.commitTime, r.XID, func(out []byte) []byte {
		for o := walrecord.NewCursor(oids); len(o.Rest) > 0; {
			out = appendRel(out, walrecord.RelFile{Database: db, Relation: o.U32()})
		}
		return out
	})
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

func (in *Ingester) eventDatabase(r *walrecord.Record, kind EventKind, p place) {
	in.event(kind, r, in.state.commitTime, r.XID, func(b []byte) []byte {
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
	seconds := int64(binary.LittleEndian.Uint64(checkpoint[checkpointTime:]))
	at := wal.Timestamp((seconds - postgresEpoch) * 1_000_000)
	in.event(EventCheckpoint, r, at, 0, func(b []byte) []byte {
		b = append(b, checkpoint[checkpointRedo:checkpointRedo+8]...)
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
	for _, kind := range []EventKind{EventDrop, EventTruncate, EventCut, EventCreate, EventRelMap} {
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
