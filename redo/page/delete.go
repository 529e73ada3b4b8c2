package page

// stored returns the extent of an item with storage: its offset and its aligned
// size, both inside the tuples' area.
func (p *Page) stored(offnum int) (offset, aligned int, err error) {
	i := p.pointer(offnum)
	offset = i.Offset()
	if offset < p.Upper() || offset+i.Length() > p.Special() || offset%8 != 0 {
		return 0, 0, ErrPointer
	}
	return offset, Align(i.Length()), nil
}

// shift moves the tuples below offset up by n bytes (down if n < 0) and adjusts
// their pointers and pd_upper. offset and offset+n are inside the page, and so
// is Upper+n.
func (p *Page) shift(offset, n int) {
	upper := p.Upper()
	if offset > upper {
		copy(p[upper+n:offset+n], p[upper:offset])
	}
	p.SetUpper(upper + n)
	for k := range p.MaxOffset() {
		if i := p.pointer(k + 1); i.HasStorage() && i.Offset() <= offset {
			p.setPointer(k+1, i.withOffset(i.Offset()+n))
		}
	}
}

// Delete removes an index tuple and its line pointer (PageIndexTupleDelete).
func (p *Page) Delete(offnum uint16) error {
	n := p.MaxOffset()
	offset, aligned, err := p.deletable(int(offnum), n)
	if err != nil {
		return err
	}
	copy(p[pointerAt(int(offnum)):], p[pointerAt(int(offnum)+1):pointerAt(n+1)])
	p.SetLower(p.Lower() - PointerSize)
	p.shift(offset, aligned)
	return nil
}

// DeleteNoCompact removes a tuple and keeps the numbers of the others: its line
// pointer becomes unused, or is cut off if it is the last
// (PageIndexTupleDeleteNoCompact).
func (p *Page) DeleteNoCompact(offnum uint16) error {
	n := p.MaxOffset()
	offset, aligned, err := p.deletable(int(offnum), n)
	if err != nil {
		return err
	}
	if int(offnum) < n {
		p.setPointer(int(offnum), 0)
	} else {
		p.SetLower(p.Lower() - PointerSize)
	}
	p.shift(offset, aligned)
	return nil
}

func (p *Page) deletable(offnum, n int) (offset, aligned int, err error) {
	if err := p.Check(); err != nil {
		return 0, 0, err
	}
	if offnum < 1 || offnum > n {
		return 0, 0, ErrOffset
	}
	return p.stored(offnum)
}

// Overwrite replaces an index tuple by a copy of item, of whatever size, and
// keeps its line pointer's number and flags (PageIndexTupleOverwrite).
func (p *Page) Overwrite(offnum uint16, item []byte) error {
	offset, aligned, err := p.deletable(int(offnum), p.MaxOffset())
	if err != nil {
		return err
	}
	if len(item) == 0 || len(item) > Size {
		return ErrItemSize
	}
	diff := aligned - Align(len(item))
	if -diff > p.Upper()-p.Lower() {
		return ErrNoSpace
	}
	if offset+aligned > Size {
		return ErrPointer
	}
	if diff != 0 {
		p.shift(offset, diff)
	}
	flags := p.pointer(int(offnum)).Flags()
	p.setPointer(int(offnum), MakePointer(offset+diff, flags, len(item)))
	copy(p[offset+diff:], item)
	return nil
}

// MultiDelete removes index tuples and their line pointers; offnums rises
// strictly (PageIndexMultiDelete).
func (p *Page) MultiDelete(offnums OffsetList) error {
	n := offnums.Len()
	if n <= 2 { // PostgreSQL's rule too: it decides where tuples lie.
		for k := n - 1; k >= 0; k-- {
			if err := p.Delete(offnums.At(k)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := p.Check(); err != nil {
		return err
	}
	next, kept, total := 0, 0, 0
	var keep pointers
	for k := 1; k <= p.MaxOffset(); k++ {
		_, aligned, err := p.stored(k)
		if err != nil {
			return err
		}
		if next < n && int(offnums.At(next)) == k {
			next++
			continue
		}
		keep[kept] = p.pointer(k)
		kept++
		total += aligned
	}
	if next != n {
		return ErrOffset
	}
	if total > p.Special()-p.Lower() {
		return ErrNoSpace
	}
	for k, i := range keep[:kept] {
		p.setPointer(k+1, i)
	}
	p.SetLower(HeaderSize + kept*PointerSize)
	p.compact()
	return nil
}

// pointers is as many line pointers as a page can have.
type pointers [(Size - HeaderSize) / PointerSize]Pointer
