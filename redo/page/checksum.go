package page

import "encoding/binary"

// checksumBase is where the 32 sums begin (checksumBaseOffsets).
var checksumBase = [32]uint32{
	0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
	0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
	0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
	0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756,
}

const checksumPrime = 16777619 // of FNV-1a

func checksumRound(sum, value uint32) uint32 {
	t := sum ^ value
	return t*checksumPrime ^ t>>17
}

// Checksum is what pd_checksum is when the page is written as block number
// block of its fork (pg_checksum_page). The field's present value does not
// count. A new page has none.
func (p *Page) Checksum(block uint32) uint16 {
	sums := checksumBase
	for row := 0; row < Size; row += 4 * len(sums) {
		line := p[row : row+4*len(sums)]
		for j := range sums {
			value := binary.LittleEndian.Uint32(line[4*j:])
			if row == 0 && j == offChecksum/4 {
				value &^= 0xFFFF
			}
			sums[j] = checksumRound(sums[j], value)
		}
	}
	var all uint32
	for _, sum := range sums {
		all ^= checksumRound(checksumRound(sum, 0), 0)
	}
	return uint16((all^block)%65535 + 1)
}

// StoredChecksum is pd_checksum: 0 when the server keeps none.
func (p *Page) StoredChecksum() uint16 { return p.u16(offChecksum) }

// SetChecksum sets pd_checksum.
func (p *Page) SetChecksum(sum uint16) { p.setU16(offChecksum, sum) }
