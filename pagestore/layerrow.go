package pagestore

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/walhaven/walhaven/wal"
)

// grouped as the kind of a row says that it holds several entries. It is part of
// the layer format; no entry is of this kind.
const grouped Kind = 6

// rowGroup gathers neighbouring entries of one key for a row of a layer's table,
// for what a row costs hardly depends on its size: of a page that is filled tuple by
// tuple there are dozens of small changes. The row has the place of its oldest
// entry, so that a search for an LSN finds the first row with anything at or below
// it.
type rowGroup struct {
	limit int // bytes that a row of several may have

	key     Key
	lsn     wal.LSN // of the entry added last, the oldest one
	ord     uint16
	entries int
	row     []byte
	single  int // where in row the first entry's bytes begin
}

// add takes an entry in, unless it has another key or there is no room. Entries come
// in the order of layers.
func (g *rowGroup) add(it *item) bool {
	if g.entries == 0 {
		if len(it.stored) > g.limit {
			return false
		}
		g.key = it.key
		g.row = binary.AppendUvarint(append(g.row[:0], byte(grouped)), uint64(it.lsn))
	} else {
		if len(g.row)+len(it.stored) > g.limit || it.key != g.key {
			return false
		}
		g.row = binary.AppendUvarint(g.row, uint64(g.lsn-it.lsn))
	}
	g.row = binary.AppendUvarint(g.row, uint64(it.ord))
	g.row = binary.AppendUvarint(g.row, uint64(len(it.stored)))
	if g.entries == 0 {
		g.single = len(g.row)
	}
	g.row = append(g.row, it.stored...)
	g.lsn, g.ord = it.lsn, it.ord
	g.entries++
	return true
}

// take ends the row and returns its value, which is valid until the next add; one
// entry stands for itself. key, lsn and ord are the row's place.
func (g *rowGroup) take() (value []byte) {
	n := g.entries
	g.entries = 0
	if n == 1 {
		return g.row[g.single:]
	}
	return g.row
}

// rowReader gives out the entries of a row, newest first.
type rowReader struct {
	it   item   // the stored bytes are the table's
	rest []byte // of entries that follow
	// The oldest entry's place.
	lsn wal.LSN
	ord uint16
}

var errRow = errors.New("row is damaged")

// open takes a row and reads its first entry: ok is true, or there is an error.
func (r *rowReader) open(k, value []byte) (ok bool, err error) {
	if len(k) != layerKeySize || len(value) == 0 {
		return false, fmt.Errorf("row with a key of %d and a value of %d bytes: %w", len(k), len(value), errRow)
	}
	r.lsn = wal.LSN(^binary.BigEndian.Uint64(k[KeySize:]))
	r.ord = ^binary.BigEndian.Uint16(k[KeySize+8:])
	r.it = item{key: Key(k[:KeySize])}
	if Kind(value[0]) != grouped {
		r.rest = nil
		r.it.lsn, r.it.ord = r.lsn, r.ord
		return r.store(value)
	}
	if r.rest = value[1:]; len(r.rest) == 0 {
		return false, fmt.Errorf("row of no entries: %w", errRow)
	}
	return r.next()
}

// next reads the row's next entry, if there is one.
func (r *rowReader) next() (ok bool, err error) {
	if len(r.rest) == 0 {
		return false, nil
	}
	before, ordBefore := r.it.lsn, r.it.ord
	distance, ord, size := r.uvarint(), r.uvarint(), r.uvarint()
	if r.rest == nil || size > uint64(len(r.rest)) || ord > uint64(^uint16(0)) || before != 0 && distance > uint64(before) {
		return false, errRow
	}
	r.it.lsn, r.it.ord = wal.LSN(distance), uint16(ord)
	if before != 0 {
		r.it.lsn = before - wal.LSN(distance)
	}
	if r.it.lsn == 0 || before != 0 && distance == 0 && r.it.ord >= ordBefore {
		return false, fmt.Errorf("entry at %s behind one at %s: %w", r.it.lsn, before, errRow)
	}
	stored := r.rest[:size:size]
	if r.rest = r.rest[size:]; len(r.rest) == 0 && (r.it.lsn != r.lsn || r.it.ord != r.ord) {
		return false, fmt.Errorf("oldest entry at %s in a row of %s: %w", r.it.lsn, r.lsn, errRow)
	}
	return r.store(stored)
}

// uvarint reads a number of the row; rest is nil once there is none.
func (r *rowReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.rest = nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// store takes the entry's kind and value.
func (r *rowReader) store(stored []byte) (bool, error) {
	if len(stored) == 0 {
		return false, fmt.Errorf("entry of no kind: %w", errRow)
	}
	if r.it.kind = Kind(stored[0]); r.it.kind < Image || r.it.kind > Tombstone {
		return false, fmt.Errorf("entry of %s: %w", r.it.kind, errRow)
	}
	r.it.stored = stored
	return true, nil
}
