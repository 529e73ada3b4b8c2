package redo

import (
	"fmt"

	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// A server that does not reference the map's page takes bits off it before it
// writes the record that says so. An image of the page that another process
// writes in between lacks bits that redo still has. The oracle accepts that when
// the record follows within earlyRecords.
const earlyRecords = 1000

// earlyClear is a bit that an image lacked before a record took it off.
type earlyClear struct {
	clear VisibilityClear
	until int // k.records
	why   string
}

// clearedEarly reports whether theirs differs from ours only by bits of the map
// that are missing, and remembers them.
func (k *oracle) clearedEarly(r *walrecord.Record, b *walrecord.Block, ours, theirs *page.Page) bool {
	if b.Fork != walrecord.ForkVM {
		return false
	}
	for i := range ours {
		if theirs[i]&^ours[i] != 0 || i < page.HeaderSize && theirs[i] != ours[i] {
			return false
		}
	}
	for n := range uint32(page.HeapPerMap) {
		if bits := ours.MapBits(n) &^ theirs.MapBits(n); bits != 0 {
			c := VisibilityClear{Rel: b.Rel, MapBlock: b.Block, HeapBlock: b.Block*page.HeapPerMap + n, Bits: bits}
			if k.isEarly(c) < 0 {
				k.early = append(k.early, earlyClear{c, k.records + earlyRecords, fmt.Sprintf("%s at %s", kindOf(r), r.Start)})
			}
		}
	}
	return true
}

func (k *oracle) isEarly(c VisibilityClear) int {
	for i, e := range k.early {
		if e.clear.Rel == c.Rel && e.clear.HeapBlock == c.HeapBlock && e.clear.Bits&c.Bits == e.clear.Bits {
			return i
		}
	}
	return -1
}

// clear makes a change that the record did not reference, which may be one that
// an image showed early.
func (k *oracle) clear(c VisibilityClear) {
	if k.deaf {
		return
	}
	if p := k.pages[pageKey{c.Rel, walrecord.ForkVM, c.MapBlock}]; p != nil && c.Apply(p) {
		k.clears++
	}
	if i := k.isEarly(c); i >= 0 {
		k.early = append(k.early[:i], k.early[i+1:]...)
		k.earlySeen++
	}
}

// checkEarly fails for bits that no record took off.
func (k *oracle) checkEarly() {
	for i := 0; i < len(k.early); i++ {
		if e := k.early[i]; k.records > e.until {
			k.failed++
			k.failures = append(k.failures, fmt.Sprintf("%s: the image lacks bits %x of heap block %d of %s, and no record takes them off",
				e.why, e.clear.Bits, e.clear.HeapBlock, e.clear.Rel))
			k.early = append(k.early[:i], k.early[i+1:]...)
			i--
		}
	}
}

// lostMap reports whether the page is one of a map that CREATE DATABASE logged
// as a page with a hole, which is where the map lies: a standby has no bits then,
// and the server has all. The oracle goes on with the server's page.
func (k *oracle) lostMap(b *walrecord.Block, ours, theirs *page.Page) bool {
	key := pageKey{b.Rel, b.Fork, b.Block}
	if !k.holed[key] {
		return false
	}
	for i := page.HeaderSize; i < page.Size; i++ {
		if ours[i]&^theirs[i] != 0 {
			return false
		}
	}
	copy(ours[page.HeaderSize:], theirs[page.HeaderSize:])
	k.holed[key] = false
	return true
}
