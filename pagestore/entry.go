package pagestore

import (
	"errors"
	"fmt"

	"github.com/walhaven/walhaven/wal"
)

// Kind says what an entry does to the value of its key. The numbers are part of
// the layer format.
type Kind uint8

// The kinds of entries.
const (
	Image     Kind = 1 // the whole value
	Delta     Kind = 2 // a record that changes the value below it
	InitDelta Kind = 3 // a record that makes the value, whatever was below it
	Tombstone Kind = 4 // the key does not exist any more; no value
	Drop      Kind = 5 // no key of [Key, End) exists any more; no value
)

func (k Kind) String() string {
	names := [...]string{"", "image", "delta", "init delta", "tombstone", "drop"}
	if k >= Image && k <= Drop {
		return names[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// ends says that what lies below an entry of the kind does not matter.
func (k Kind) ends() bool { return k != Delta }

// Entry is one change. Value is copied by Put.
type Entry struct {
	Key   Key
	End   Key // Drop only: end of the range, exclusive
	LSN   wal.LSN
	Kind  Kind
	Value []byte
}

// Batch is a run of changes, LSNs not descending: everything up to and including
// Batch.LSN has been put with it. Several entries for one key at one LSN keep
// their order.
//
// Changes of one LSN that are too many for a batch come in several, all but the
// last of which say More and have entries of this LSN only. No key may be in two
// of them. Nothing of the LSN can be read, or survives a crash, before the last
// one was put, or is durable.
type Batch struct {
	Entries []Entry
	LSN     wal.LSN
	More    bool
}

// validate says why the batch cannot follow what was put up to last, and in part
// at the LSN open, 0 without one; or how many bytes its values have.
func (b *Batch) validate(last, open wal.LSN, o *Options) (values int64, err error) {
	if b.LSN <= last || b.LSN < open || b.More && open != 0 && b.LSN != open {
		return 0, fmt.Errorf("batch ends at %s, not above %s or at %s: %w", b.LSN, last, open, ErrOrder)
	}
	previous := max(last+1, open)
	if b.More {
		previous = b.LSN
	}
	for i := range b.Entries {
		e := &b.Entries[i]
		if e.LSN < previous || e.LSN > b.LSN {
			return 0, fmt.Errorf("entry %d at %s is not between %s and %s: %w", i, e.LSN, previous, b.LSN, ErrOrder)
		}
		previous = e.LSN
		if err := e.validate(o); err != nil {
			return 0, fmt.Errorf("entry %d at %s: %w", i, e.LSN, err)
		}
		values += int64(len(e.Value))
	}
	if n, limit := b.memory(values), o.maxBatch(); n > limit {
		return 0, fmt.Errorf("batch of %d bytes is larger than %d: %w", n, limit, ErrTooLarge)
	}
	return values, nil
}

// memory is what the batch will take, roughly, if its values have so many bytes.
func (b *Batch) memory(values int64) int64 { return values + int64(len(b.Entries))*entryOverhead }

func (e *Entry) validate(o *Options) error {
	switch e.Kind {
	case Image, Delta, InitDelta:
		if len(e.Value) > o.MaxValueSize {
			return fmt.Errorf("value of %d bytes is larger than %d: %w", len(e.Value), o.MaxValueSize, ErrTooLarge)
		}
	case Tombstone:
		if len(e.Value) != 0 {
			return errors.New("a tombstone has no value")
		}
	case Drop:
		if len(e.Value) != 0 || e.Key.Compare(e.End) >= 0 {
			return errors.New("a drop has a range of keys and no value")
		}
		return nil
	default:
		return fmt.Errorf("unknown %s", e.Kind)
	}
	if e.Key == MaxKey {
		return errors.New("the largest key is reserved")
	}
	return nil
}

// item is an entry under a key as layers and merges see it. Newer comes first:
// LSN descending, then ord descending.
type item struct {
	key  Key
	lsn  wal.LSN
	ord  uint16 // order of entries of one key at one LSN
	kind Kind
	// stored is the kind, in a byte, and the value.
	stored []byte
}

func (a *item) value() []byte { return a.stored[1:] }

// before is the order of layers: key, then newest first.
func (a *item) before(b *item) bool {
	if c := a.key.Compare(b.key); c != 0 {
		return c < 0
	}
	if a.lsn != b.lsn {
		return a.lsn > b.lsn
	}
	return a.ord > b.ord
}
