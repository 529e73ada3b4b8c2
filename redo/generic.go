package redo

import "github.com/walhaven/walhaven/redo/page"

// redoGeneric is generic_redo: pieces of the page, after which the hole is
// zeroed. Pages that such a record builds from nothing come as images.
func redoGeneric(c *ctx, p *page.Page) error {
	d := read(c.blk.Data)
	for len(d.rest) > 0 {
		at, n := int(d.u16()), int(d.u16())
		piece := d.bytes(n)
		if d.bad {
			return ErrTruncated
		}
		if at+n > page.Size {
			return errBadRecord
		}
		copy(p[at:], piece)
	}
	if p.Lower() > p.Upper() || p.Upper() > page.Size {
		return errBadPage
	}
	clear(p[p.Lower():p.Upper()])
	return nil
}
