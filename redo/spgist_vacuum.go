package redo

import (
	"encoding/binary"

	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// redoSPGistVacuumLeaf is spgRedoVacuumLeaf.
func redoSPGistVacuumLeaf(c *ctx, p *page.Page, r walrecord.Cursor) error {
	nDead, nPlaceholder, nMove, nChain := int(r.U16()), int(r.U16()), int(r.U16()), int(r.U16())
	state := takeSPGistState(&r)
	dead := page.OffsetList(r.Bytes(2 * nDead))
	placeholders := page.OffsetList(r.Bytes(2 * nPlaceholder))
	moveFrom := page.OffsetList(r.Bytes(2 * nMove))
	moveTo := page.OffsetList(r.Bytes(2 * nMove))
	chainFrom := page.OffsetList(r.Bytes(2 * nChain))
	chainTo := page.OffsetList(r.Bytes(2 * nChain))
	if err := checkRead(&r); err != nil {
		return err
	}
	if c.blk.ID != 0 {
		return errNoRedo
	}
	if err := state.replace(p, dead, spgistDead, spgistDead, invalidBlock, 0); err != nil {
		return err
	}
	if err := state.replace(p, placeholders, spgistPlaceholder, spgistPlaceholder, invalidBlock, 0); err != nil {
		return err
	}
	for k := range nMove { // A list's new head takes the number that the parent knows.
		from, to := moveFrom.At(k), moveTo.At(k)
		a, b := p.Pointer(from), p.Pointer(to)
		if err := p.SetPointer(from, b); err != nil {
			return err
		}
		if err := p.SetPointer(to, a); err != nil {
			return err
		}
	}
	if err := state.replace(p, moveFrom, spgistPlaceholder, spgistPlaceholder, invalidBlock, 0); err != nil {
		return err
	}
	for k := range nChain {
		if err := setSPGistNext(p, chainFrom.At(k), chainTo.At(k)); err != nil {
			return err
		}
	}
	return nil
}

// redoSPGistVacuumRoot is spgRedoVacuumRoot: the root is a leaf.
func redoSPGistVacuumRoot(c *ctx, p *page.Page, r walrecord.Cursor) error {
	n := int(r.U16())
	r.Skip(2)
	takeSPGistState(&r)
	offnums := page.OffsetList(r.Bytes(2 * n))
	if err := checkRead(&r); err != nil {
		return err
	}
	if c.blk.ID != 0 {
		return errNoRedo
	}
	return p.MultiDelete(offnums)
}

// redoSPGistVacuumRedirect is spgRedoVacuumRedirect. The offset numbers follow
// at once until 15, since 16 after isCatalogRel and padding.
func redoSPGistVacuumRedirect(c *ctx, p *page.Page, r walrecord.Cursor) error {
	n, first := int(r.U16()), r.U16()
	r.Skip(4) // The conflict horizon: for standbys.
	if len(r.Rest) >= 2+2*n {
		r.Skip(2)
	}
	offnums := page.OffsetList(r.Bytes(2 * n))
	if err := checkRead(&r); err != nil {
		return err
	}
	if c.blk.ID != 0 {
		return errNoRedo
	}
	for k := range n {
		item, err := spgistItem(p, offnums.At(k), lenSPGistDead)
		if err != nil {
			return err
		}
		item[0] = item[0]&^spgistStateMask | spgistPlaceholder
		putTupleID(item[offSPGistPointer:], invalidBlock, 0)
	}
	if err := countSPGist(p, -n, n); err != nil {
		return err
	}
	if first == 0 {
		return nil
	}
	return cutSPGistPlaceholders(p, first)
}

// cutSPGistPlaceholders removes the placeholders at the page's end, from first
// on.
func cutSPGistPlaceholders(p *page.Page, first uint16) error {
	n := p.MaxOffset() - int(first) + 1
	if n <= 0 {
		return errBadPage
	}
	if n > spgistMaxItems {
		return errBadPage
	}
	var offnums [2 * spgistMaxItems]byte
	for k := range n {
		binary.LittleEndian.PutUint16(offnums[2*k:], first+uint16(k))
	}
	if err := countSPGist(p, 0, -n); err != nil {
		return err
	}
	return p.MultiDelete(offnums[:2*n])
}
