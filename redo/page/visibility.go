package page

// The visibility map has two bits for each page of a heap
// (src/backend/access/heap/visibilitymap.c), four pages a byte, from the lowest
// bits of the byte behind the map page's header on.
const (
	MapAllVisible = 0x01
	MapAllFrozen  = 0x02
	MapBits       = MapAllVisible | MapAllFrozen

	mapPerByte = 4
	// HeapPerMap is how many heap pages one page of the map covers.
	HeapPerMap = (Size - HeaderSize) * mapPerByte
)

// MapBlock is the block of the visibility map that has a heap block's bits.
func MapBlock(heapBlock uint32) uint32 { return heapBlock / HeapPerMap }

func mapPlace(heapBlock uint32) (at int, shift uint) {
	n := heapBlock % HeapPerMap
	return HeaderSize + int(n/mapPerByte), uint(n%mapPerByte) * 2
}

// MapBits are the bits of a heap block on its page of the visibility map.
func (p *Page) MapBits(heapBlock uint32) uint8 {
	at, shift := mapPlace(heapBlock)
	return p[at] >> shift & MapBits
}

// SetMapBits adds bits of a heap block.
func (p *Page) SetMapBits(heapBlock uint32, bits uint8) {
	at, shift := mapPlace(heapBlock)
	p[at] |= bits & MapBits << shift
}

// ClearMapBits takes bits of a heap block away and reports whether any was set.
func (p *Page) ClearMapBits(heapBlock uint32, bits uint8) bool {
	at, shift := mapPlace(heapBlock)
	mask := bits & MapBits << shift
	had := p[at]&mask != 0
	p[at] &^= mask
	return had
}

// TruncateMap takes the bits away of all heap blocks from heapBlock on
// (visibilitymap_prepare_truncate); the page has those of heapBlock.
func (p *Page) TruncateMap(heapBlock uint32) {
	at, shift := mapPlace(heapBlock)
	p[at] &= 1<<shift - 1
	clear(p[at+1:])
}
