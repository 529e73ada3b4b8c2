package redo

import (
	"encoding/binary"

	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// sequenceMagic marks a sequence's page (SEQ_MAGIC).
const sequenceMagic = 0x1717

// redoSequence is seq_redo: the page is built anew around the one tuple, which
// follows the relation's name in the record.
func redoSequence(c *ctx, p *page.Page) error {
	if c.rec.Op() != 0 {
		return errUnknownOp
	}
	m := walrecord.NewCursor(c.main)
	m.Skip(12)
	if m.Bad {
		return ErrTruncated
	}
	p.Init(8)
	binary.LittleEndian.PutUint32(p.SpecialArea(8), sequenceMagic)
	return p.Append(m.Rest)
}
