package page

// MaxHeapTuples is the highest number of line pointers on a heap page
// (MaxHeapTuplesPerPage).
const MaxHeapTuples = (Size - HeaderSize) / (24 + PointerSize)

// Insert adds a copy of item at line pointer offnum and shifts that pointer and
// those after it up by one, as indexes do (PageAddItem without overwrite).
func (p *Page) Insert(offnum uint16, item []byte) error {
	place, err := p.add(int(offnum), len(item), false)
	if err == nil {
		copy(place, item)
	}
	return err
}

// Append adds a copy of item behind the last line pointer.
func (p *Page) Append(item []byte) error {
	return p.Insert(uint16(p.MaxOffset()+1), item)
}

// Place makes room for size bytes at line pointer offnum, which is unused or
// one above the highest, as heap and BRIN do (PageAddItem with overwrite). The
// caller fills what is returned, an alias of the page with old bytes in it.
func (p *Page) Place(offnum uint16, size int) ([]byte, error) {
	return p.add(int(offnum), size, true)
}

// add is PageAddItemExtended. The tuple goes to the end of the free space; its
// padding is left as it was.
func (p *Page) add(offnum, size int, overwrite bool) ([]byte, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	if size <= 0 || size > Size {
		return nil, ErrItemSize
	}
	limit := p.MaxOffset() + 1
	if offnum < 1 || offnum > limit {
		return nil, ErrOffset
	}
	if overwrite && offnum < limit && (p.pointer(offnum).Flags() != Unused || p.pointer(offnum).HasStorage()) {
		return nil, ErrUsed
	}
	lower, upper := p.Lower(), p.Upper()-Align(size)
	if offnum == limit || !overwrite {
		lower += PointerSize
	}
	if lower > upper {
		return nil, ErrNoSpace
	}
	if !overwrite && offnum < limit {
		copy(p[pointerAt(offnum+1):pointerAt(limit+1)], p[pointerAt(offnum):pointerAt(limit)])
	}
	p.setPointer(offnum, MakePointer(upper, Normal, size))
	p.SetLower(lower)
	p.SetUpper(upper)
	return p[upper : upper+size : upper+size], nil
}
