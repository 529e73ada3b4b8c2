package redo

import (
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// redoGeneric is generic_redo: pieces of the page, after which the hole is
// zeroed. Pages that such a record builds from nothing come as images.
func redoGeneric(c *ctx, p *page.Page) error {
	d := walrecord.NewCursor(c.blk.Data)
	for len(d.Rest) > 0 {
		at, n := int(d.U16()), int(d.U16())
		piece := d.Bytes(n)
		if d.Bad {
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
