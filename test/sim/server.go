package sim

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"

	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// The cluster that all WAL is of.
const (
	systemID  wal.SystemID    = 0x65a1b2c3d4e5f607
	pgVersion uint32          = 170005
	segment   wal.SegmentSize = wal.MinSegmentSize
	base                      = wal.LSN(segment) // first byte of everybody's WAL
	pageMagic uint16          = 0xD116
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// server is a PostgreSQL as far as WAL goes: it appends valid records to a byte
// stream that begins at base.
type server struct {
	name       string
	wal        []byte
	prev       wal.LSN   // start of the last record
	ends       []wal.LSN // of the records written by itself
	tli        wal.TimelineHistory
	overwrites bool   // the next page replaces the continuation of a record
	rest       int    // bytes of the record being written
	seq        uint32 // makes records of different servers and times differ
}

func newServer(name string, seq uint32) *server {
	return &server{name: name, prev: base - 8, tli: wal.TimelineHistory{Last: 1}, seq: seq}
}

func (s *server) end() wal.LSN { return base + wal.LSN(len(s.wal)) }

// upto returns the WAL in front of l.
func (s *server) upto(l wal.LSN) []byte { return s.wal[:l-base] }

// work writes a few records, seldom a long one, and ends the segment now and then
// if it may.
func (s *server) work(r *rand.Rand, switches bool) {
	for range r.IntN(4) {
		s.message(r.IntN(300))
	}
	if r.IntN(40) == 0 {
		s.message(r.IntN(2 * wal.BlockSize))
	}
	if switches && r.IntN(60) == 0 {
		s.switchSegment()
	}
}

// record appends one record of n payload bytes.
func (s *server) record(rmid, info byte, n int) {
	s.seq++
	payload := make([]byte, 5, 5+n)
	payload[0] = 254
	binary.LittleEndian.PutUint32(payload[1:], uint32(n))
	for i := range n {
		payload = append(payload, byte(uint32(i)*7+s.seq*31+s.seq>>8))
	}
	if n == 0 {
		payload = nil
	}
	s.emit(rmid, info, payload)
}

// emit appends a record.
func (s *server) emit(rmid, info byte, payload []byte) {
	if len(s.wal)%wal.BlockSize == 0 {
		s.pageHeader()
	}
	start := s.end()
	le := binary.LittleEndian
	rec := le.AppendUint32(nil, uint32(24+len(payload)))
	rec = le.AppendUint32(rec, s.seq)
	rec = le.AppendUint64(rec, uint64(s.prev))
	rec = append(rec, info, rmid, 0, 0)
	rec = le.AppendUint32(rec, crc32.Update(crc32.Checksum(payload, castagnoli), castagnoli, rec))
	rec = append(rec, payload...)
	s.prev, s.rest = start, len(rec)
	for len(rec) > 0 {
		if len(s.wal)%wal.BlockSize == 0 {
			s.pageHeader()
		}
		k := min(len(rec), wal.BlockSize-len(s.wal)%wal.BlockSize)
		s.wal, rec = append(s.wal, rec[:k]...), rec[k:]
		s.rest -= k
	}
	for len(s.wal)%8 != 0 {
		s.wal = append(s.wal, 0)
	}
	if rmid == 0 && info == 0x40 { // XLOG_SWITCH
		s.wal = append(s.wal, make([]byte, (int(segment)-len(s.wal)%int(segment))%int(segment))...)
	}
	s.ends = append(s.ends, s.end())
}

// message is an ordinary record, switchSegment one that ends the segment.
func (s *server) message(n int)  { s.record(21, 0, n) }
func (s *server) switchSegment() { s.record(0, 0x40, 0) }

func (s *server) pageHeader() {
	le := binary.LittleEndian
	var flags uint16
	if s.rest > 0 {
		flags |= 1
	}
	if s.overwrites {
		flags |= 8
	}
	long := len(s.wal)%int(segment) == 0
	if long {
		flags |= 2
	}
	p := le.AppendUint16(s.wal, pageMagic)
	p = le.AppendUint16(p, flags)
	p = le.AppendUint32(p, uint32(s.tli.Last))
	p = le.AppendUint64(p, uint64(base)+uint64(len(s.wal)))
	p = le.AppendUint32(p, uint32(s.rest))
	p = append(p, 0, 0, 0, 0)
	if long {
		p = le.AppendUint64(p, uint64(systemID))
		p = le.AppendUint32(p, uint32(segment))
		p = le.AppendUint32(p, wal.BlockSize)
	}
	s.wal = p
}

// restored returns a server that has the given WAL and goes on with its own.
func restored(name string, b []byte, tli wal.TimelineHistory, seq uint32) *server {
	s := newServer(name, seq)
	s.wal, s.tli = append([]byte(nil), b...), tli
	scan := newScanner(tli)
	if err := scan.Feed(base, s.wal); err != nil {
		panic("sim: a server restored from WAL that cannot be read: " + err.Error())
	}
	if last := scan.LastRecord(); last != 0 {
		s.prev = last
	}
	return s
}

// promoted returns a server that took over from s at its end, on timeline tli.
func promoted(name string, s *server, tli wal.TLI, seq uint32) *server {
	h := wal.TimelineHistory{Last: tli}
	h.Ancestors = append(append(h.Ancestors, s.tli.Ancestors...), wal.HistoryEntry{TLI: s.tli.Last, Switch: s.end()})
	return restored(name, s.wal, h, seq)
}

// torn returns the server as it comes back from a crash that lost its latest
// records.
func (s *server) torn(r *rand.Rand, seq uint32) *server {
	if len(s.ends) == 0 {
		return restored(s.name, s.wal, s.tli, seq)
	}
	return restored(s.name, s.upto(s.ends[r.IntN(len(s.ends))]), s.tli, seq)
}

// interrupted returns the server as it comes back from a crash in the middle of its
// last record: the pages that were whole stay, and a record says that the rest never
// comes. It is nil when it has written none that a page ends within.
func (s *server) interrupted(r *rand.Rand, seq uint32) *server {
	first := s.prev.PageStart() + wal.BlockSize
	if len(s.ends) == 0 || first >= s.end() {
		return nil
	}
	pages := int(s.end()-first-1)/wal.BlockSize + 1
	cut := first + wal.LSN(r.IntN(pages))*wal.BlockSize
	lost := s.prev
	n := restored(s.name, s.upto(cut), s.tli, seq)
	if n.prev == lost {
		return nil // it was whole: what follows an XLOG_SWITCH is none of it
	}
	n.overwrites = true
	n.pageHeader()
	n.overwrites = false
	payload := binary.LittleEndian.AppendUint64([]byte{255, 16}, uint64(lost))
	n.emit(0, 0xD0, append(payload, make([]byte, 8)...)) // OVERWRITE_CONTRECORD, at no time
	return n
}

func newScanner(h wal.TimelineHistory) *walrecord.Scanner {
	return walrecord.NewScanner(walrecord.ScannerOptions{
		Start: base, SegmentSize: segment, PGVersion: pgVersion, SystemID: systemID, TLI: 1, MaxTLI: h.Last,
	})
}
