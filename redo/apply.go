package redo

import (
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Options are the settings of the cluster, as of the record, that change what
// its records do to pages.
type Options struct {
	WALLogHints   bool // wal_log_hints, from XLOG/PARAMETER_CHANGE or pg_control
	DataChecksums bool // from pg_control
}

// Apply brings p, the page of r.Blocks[index], to its state after r. A page that
// does not exist yet is all zero.
//
// A page at or beyond r.End is left alone unless r holds an image to restore or
// builds the page from nothing. After an error, which is always an *[Error], the
// contents of p are of no use. A page that redo needs and that is new makes
// [ErrNewPage]: legal only for a relation that is dropped or truncated later.
//
// r must come from [walrecord.Decode], with r.Major set (0 means the newest).
func Apply(p *page.Page, r *walrecord.Record, index int, o Options) error {
	if index < 0 || index >= len(r.Blocks) {
		return &Error{RMID: r.RMID, Op: walrecord.Identify(r), Start: r.Start, End: r.End, Err: errNoBlock}
	}
	c := ctx{rec: r, blk: &r.Blocks[index], main: r.MainData, opt: o, stamp: true}
	if err := c.apply(p); err != nil {
		return &Error{
			RMID: r.RMID, Op: walrecord.Identify(r), Start: r.Start, End: r.End,
			Rel: c.blk.Rel, Fork: c.blk.Fork, Block: c.blk.Block, Err: err,
		}
	}
	return nil
}

// Rebuilds reports whether redo of b makes the page without looking at what it
// was: a page's history before such a record is of no use after it.
func Rebuilds(b *walrecord.Block) bool {
	return b.WillInit || b.HasImage && b.Image.Apply
}

// ctx is what the functions of a resource manager know: one record and one of
// its blocks. They change the page of blk; pd_lsn is tested before and stamped
// afterwards.
type ctx struct {
	rec  *walrecord.Record
	blk  *walrecord.Block
	main []byte // rec.MainData
	opt  Options
	// stamp says whether pd_lsn becomes rec.End. It is set before they are
	// called; they may clear it.
	stamp bool
}

func (c *ctx) apply(p *page.Page) error {
	if c.blk.HasImage && c.blk.Image.Apply {
		if err := RestoreImage(p, &c.blk.Image); err != nil {
			return err
		}
		if err := c.restored(p); err != nil {
			return err
		}
		if !p.IsNew() {
			p.SetLSN(c.rec.End)
		}
		return nil
	}
	switch {
	case c.blk.WillInit:
		*p = page.Page{}
	case p.LSN() >= c.rec.End:
		return nil
	case c.blk.Fork == walrecord.ForkVM:
		// Every bit of a map that does not exist is zero.
	case p.IsNew() && c.rec.RMID != walrecord.RmgrXLOG:
		return ErrNewPage
	}
	if err := c.redo(p); err != nil {
		return err
	}
	if c.stamp {
		p.SetLSN(c.rec.End)
	}
	return nil
}

// op is the operation without the bit 0x80, which heap and BRIN use for
// "initialises the page" and others for further operations: those use
// c.rec.Op().
func (c *ctx) op() uint8 { return c.rec.Info & 0x70 }

// major is the server's major version.
func (c *ctx) major() int {
	if c.rec.Major == 0 {
		return newestMajor
	}
	return c.rec.Major
}

// newestMajor is what Record.Major 0 stands for.
const newestMajor = 18

// block is the record's reference with this id, nil if it has none.
func (c *ctx) block(id uint8) *walrecord.Block {
	for i := range c.rec.Blocks {
		if c.rec.Blocks[i].ID == id {
			return &c.rec.Blocks[i]
		}
	}
	return nil
}
