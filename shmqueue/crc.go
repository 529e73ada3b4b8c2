package shmqueue

import "hash/crc32"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum is the CRC-32C of data.
func Checksum(data []byte) uint32 { return crc32.Update(0, castagnoli, data) }

// shiftBits is the number of bits of a length up to MaxFrame.
const shiftBits = 18

// shifts[k] advances a checksum over 2^k zero bytes, as four tables indexed by
// the bytes of the checksum.
var shifts = makeShifts()

type shiftTable [4][256]uint32

func (t *shiftTable) apply(c uint32) uint32 {
	return t[0][c&0xff] ^ t[1][c>>8&0xff] ^ t[2][c>>16&0xff] ^ t[3][c>>24]
}

// makeShifts builds the operators by repeated squaring: advancing over one zero
// byte is linear, and so is every power of it.
func makeShifts() *[shiftBits]shiftTable {
	var out [shiftBits]shiftTable
	one := func(c uint32) uint32 { return castagnoli[byte(c)] ^ c>>8 }
	fill(&out[0], one)
	for k := 1; k < len(out); k++ {
		prev := &out[k-1]
		fill(&out[k], func(c uint32) uint32 { return prev.apply(prev.apply(c)) })
	}
	return &out
}

func fill(t *shiftTable, f func(uint32) uint32) {
	for i := range t {
		for b := range t[i] {
			t[i][b] = f(uint32(b) << (8 * i))
		}
	}
}

// shift advances the linear part of checksum c over n zero bytes,
// 0 <= n <= MaxFrame.
func shift(c uint32, n uint32) uint32 {
	for k := 0; n != 0; k++ {
		if n&1 != 0 {
			c = shifts[k].apply(c)
		}
		n >>= 1
	}
	return c
}

// combine is the checksum of a||b from those of a and b, n = len(b).
func combine(a, b uint32, n uint32) uint32 { return shift(a, n) ^ b }

// suffix is the checksum of b from those of a||b and a, n = len(b).
func suffix(ab, a uint32, n uint32) uint32 { return shift(a, n) ^ ab }

// checksumMore is the checksum of a||b from that of a.
func checksumMore(a uint32, b []byte) uint32 {
	if len(b) == 0 {
		return a
	}
	return crc32.Update(a, castagnoli, b)
}
