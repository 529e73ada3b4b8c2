package pagestore

import (
	"bytes"
	"encoding/hex"
)

// KeySize is the length of a key in bytes.
const KeySize = 24

// Key names one value. Keys are ordered bytewise; package documentation has the
// layout meant for PostgreSQL. [MaxKey] itself cannot be put.
type Key [KeySize]byte

// MinKey is the smallest key, MaxKey the reserved largest one: the range from
// one to the other holds every key.
var (
	MinKey = Key{}
	MaxKey = Key(bytes.Repeat([]byte{0xff}, KeySize))
)

// Compare is -1, 0 or 1 as k comes before, is, or comes after o.
func (k Key) Compare(o Key) int { return bytes.Compare(k[:], o[:]) }

// Next returns the key right after k; MaxKey has none and returns itself.
func (k Key) Next() Key {
	if k == MaxKey {
		return k
	}
	for i := KeySize - 1; i >= 0; i-- {
		k[i]++
		if k[i] != 0 {
			break
		}
	}
	return k
}

// String is the key as 48 hexadecimal digits.
func (k Key) String() string { return hex.EncodeToString(k[:]) }

// KeyRange is the half-open range of keys [Start, End).
type KeyRange struct{ Start, End Key }

// AllKeys holds every key that can be put.
var AllKeys = KeyRange{Start: MinKey, End: MaxKey}

// Contains says whether k lies in the range.
func (r KeyRange) Contains(k Key) bool { return r.Start.Compare(k) <= 0 && k.Compare(r.End) < 0 }

// Empty says that no key lies in the range.
func (r KeyRange) Empty() bool { return r.Start.Compare(r.End) >= 0 }

func (r KeyRange) String() string { return r.Start.String() + ".." + r.End.String() }
