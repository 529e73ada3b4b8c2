package redo

import (
	"math/rand/v2"
	"testing"

	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// TestDamage changes bytes of every sample's page and record where it hurts:
// header, line pointers, special area; main and block data. Nothing may panic.
// The record's own bytes are bounds-checked by slices, the page's by its type.
func TestDamage(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	rounds := 100
	if testing.Short() {
		rounds = 3
	}
	for _, major := range sampleMajors {
		for _, s := range loadSamples(t, major) {
			r := s.decode(t)
			for range rounds {
				damaged := *r
				damaged.Blocks = append([]walrecord.Block{}, r.Blocks...)
				p := s.before
				for range rng.IntN(4) {
					p[damagedPlace(rng, &p)] = byte(rng.Uint32())
				}
				damaged.MainData = damage(rng, r.MainData)
				for i := range damaged.Blocks {
					damaged.Blocks[i].Data = damage(rng, damaged.Blocks[i].Data)
				}
				if p.LSN() >= r.End {
					p.SetLSN(0)
				}
				_ = Apply(&p, &damaged, s.index, Options{}) // An error or not: no panic.
			}
		}
	}
}

// damagedPlace prefers the parts of a page that others' meaning depends on.
func damagedPlace(rng *rand.Rand, p *page.Page) int {
	switch rng.IntN(4) {
	case 0:
		return 8 + rng.IntN(16)
	case 1:
		return min(page.HeaderSize+rng.IntN(40+4*p.MaxOffset()), page.Size-1)
	case 2:
		return page.Size - 1 - rng.IntN(24)
	}
	return rng.IntN(page.Size)
}

// damage returns a copy with some bytes changed, or cut.
func damage(rng *rand.Rand, b []byte) []byte {
	if len(b) == 0 || rng.IntN(2) == 0 {
		return b
	}
	c := append([]byte{}, b...)
	for range 1 + rng.IntN(3) {
		c[rng.IntN(len(c))] = byte(rng.Uint32())
	}
	if rng.IntN(4) == 0 {
		c = c[:rng.IntN(len(c))]
	}
	return c
}
