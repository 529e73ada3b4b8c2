package page

import "encoding/binary"

// OffsetList is an array of line pointer numbers as it stands in a record: two
// bytes each, not aligned. An odd last byte does not count.
type OffsetList []byte

// Len is the number of elements.
func (l OffsetList) Len() int { return len(l) / 2 }

// At is element k, 0 <= k < Len.
func (l OffsetList) At(k int) uint16 { return binary.LittleEndian.Uint16(l[2*k:]) }
