package pagestore

import (
	"slices"

	"github.com/walhaven/walhaven/wal"
)

// DeltaRecord is one record to apply, in [Value].
type DeltaRecord struct {
	LSN      wal.LSN
	WillInit bool   // makes the value whatever was below it
	Record   []byte // valid as long as the Value's content
}

// Value is what the store knows about a key at an LSN: the newest image at or
// below it and the records after it. Its memory is reused by the next read into
// it.
type Value struct {
	// Image is the base, nil without one: then the first delta makes the value,
	// or the deltas begin at a key that did not exist.
	Image    []byte
	ImageLSN wal.LSN
	// Deltas are the records above the image, oldest first.
	Deltas []DeltaRecord
	// Layers is how many layer files were visited.
	Layers int

	buf   []byte
	whole bool
}

// Found says whether the key exists.
func (v *Value) Found() bool { return v.Image != nil || len(v.Deltas) > 0 }

// Whole says that the value needs nothing from below: what is older does not matter,
// or was read.
func (v *Value) Whole() bool { return v.whole }

// LSN is the position of the last change of the value; 0 when not found.
func (v *Value) LSN() wal.LSN {
	if n := len(v.Deltas); n > 0 {
		return v.Deltas[n-1].LSN
	}
	return v.ImageLSN
}

func (v *Value) reset() {
	if v.buf == nil {
		v.buf = make([]byte, 0, 512) // Never nil: an empty image is an image.
	}
	*v = Value{Deltas: v.Deltas[:0], buf: v.buf[:0]}
}

// add takes the next older entry and says whether the search is over. The value
// is copied.
func (v *Value) add(lsn wal.LSN, kind Kind, value []byte) (enough bool) {
	switch kind {
	case Image:
		v.Image, v.ImageLSN = v.copy(value), lsn
	case Delta, InitDelta:
		v.Deltas = append(v.Deltas, DeltaRecord{LSN: lsn, WillInit: kind == InitDelta, Record: v.copy(value)})
	}
	v.whole = v.whole || kind.ends()
	return kind.ends()
}

func (v *Value) copy(value []byte) []byte {
	at := len(v.buf)
	// A grown buffer leaves earlier parts in the old memory, where they stay valid.
	v.buf = append(v.buf, value...)
	return v.buf[at:len(v.buf):len(v.buf)]
}

// finish puts the deltas, collected newest first, in order.
func (v *Value) finish() {
	slices.Reverse(v.Deltas)
}
