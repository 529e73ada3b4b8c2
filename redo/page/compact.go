package page

// compact lays the tuples out from the special area down, in the order of their
// line pointers, and sets pd_upper (compactify_tuples). The caller has checked
// that each lies between pd_upper and pd_special and that they fit.
func (p *Page) compact() {
	if p.sorted() {
		p.compactFrom(p)
		return
	}
	scratch := *p
	p.compactFrom(&scratch)
}

// sorted reports whether the tuples lie in the order of their line pointers
// already: then each moves up, past none that has not moved yet.
func (p *Page) sorted() bool {
	last := Size + 1
	for k := range p.MaxOffset() {
		i := p.pointer(k + 1)
		if !i.HasStorage() {
			continue
		}
		if i.Offset() >= last {
			return false
		}
		last = i.Offset()
	}
	return true
}

func (p *Page) compactFrom(src *Page) {
	upper := p.Special()
	for k := range p.MaxOffset() {
		i := p.pointer(k + 1)
		if !i.HasStorage() {
			continue
		}
		size := Align(i.Length())
		upper -= size
		if upper != i.Offset() {
			copy(p[upper:upper+size], src[i.Offset():])
			p.setPointer(k+1, i.withOffset(upper))
		}
	}
	p.SetUpper(upper)
}

// Repair closes the gaps between the tuples of a heap page and cleans unused
// line pointers (PageRepairFragmentation). With truncate, those at the end are
// cut off, as PostgreSQL does since 15.
func (p *Page) Repair(truncate bool) error {
	if err := p.Check(); err != nil {
		return err
	}
	total, unused, last := 0, 0, 0
	n := p.MaxOffset()
	for k := 1; k <= n; k++ {
		i := p.pointer(k)
		if i.Flags() == Unused {
			p.setPointer(k, 0)
			unused++
			continue
		}
		last = k
		if i.HasStorage() {
			if i.Offset() < p.Upper() || i.Offset()+i.Length() > p.Special() || i.Offset()%8 != 0 {
				return ErrPointer
			}
			total += Align(i.Length())
		}
	}
	if total > p.Special()-p.Lower() {
		return ErrNoSpace
	}
	p.compact()
	if truncate {
		p.SetLower(HeaderSize + last*PointerSize)
		unused -= n - last
	}
	p.hintFreeLines(unused > 0)
	return nil
}

// TruncatePointers cuts unused line pointers off the end, all but the first
// (PageTruncateLinePointerArray).
func (p *Page) TruncatePointers() error {
	if err := p.Check(); err != nil {
		return err
	}
	n := p.MaxOffset()
	for n > 1 && p.pointer(n).Flags() == Unused {
		n--
	}
	unused := false
	for k := 1; k <= n && !unused; k++ {
		unused = p.pointer(k).Flags() == Unused
	}
	if n > 0 {
		p.SetLower(HeaderSize + n*PointerSize)
	}
	p.hintFreeLines(unused)
	return nil
}

func (p *Page) hintFreeLines(some bool) {
	if some {
		p.SetFlag(FlagHasFreeLines)
	} else {
		p.ClearFlag(FlagHasFreeLines)
	}
}
