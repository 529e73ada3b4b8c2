package redo

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// after makes an Apply that damages each page which was changed.
func after(damage func(p *page.Page, r *walrecord.Record, index int)) applyFunc {
	return func(p *page.Page, r *walrecord.Record, index int, o Options) error {
		err := Apply(p, r, index, o)
		if err == nil {
			damage(p, r, index)
		}
		return err
	}
}

// TestOracleNotices breaks one rule at a time: the oracle must object to each.
func TestOracleNotices(t *testing.T) {
	for name, broken := range map[string]applyFunc{
		"nothing is done": func(*page.Page, *walrecord.Record, int, Options) error { return nil },
		"pd_lsn is not stamped": after(func(p *page.Page, r *walrecord.Record, _ int) {
			p.SetLSN(r.Start)
		}),
		"a tuple lies 8 bytes lower": after(func(p *page.Page, r *walrecord.Record, _ int) {
			n := uint16(p.MaxOffset())
			if item, err := p.Item(n); err == nil && r.RMID == walrecord.RmgrHeap && p.Upper()-p.Lower() >= 8 {
				at := p.Pointer(n).Offset()
				copy(p[at-8:], item)
				_ = p.SetPointer(n, page.MakePointer(at-8, page.Normal, len(item))) // It exists.
			}
		}),
		"the padding of pd_upper is forgotten": after(func(p *page.Page, r *walrecord.Record, _ int) {
			if r.RMID == walrecord.RmgrBtree && p.Lower() < p.Upper() {
				p.SetUpper(p.Upper() - 1)
			}
		}),
		"xmax is not set": after(func(p *page.Page, r *walrecord.Record, _ int) {
			if r.RMID == walrecord.RmgrHeap && r.Info&0x70 == opDelete {
				if item, err := p.Item(binary.LittleEndian.Uint16(r.MainData[4:])); err == nil {
					clear(item[4:8])
				}
			}
		}),
		"all-visible stays": after(func(p *page.Page, r *walrecord.Record, index int) {
			if r.RMID == walrecord.RmgrHeap && r.Blocks[index].Fork == walrecord.ForkMain {
				p.SetFlag(page.FlagAllVisible)
			}
		}),
		"the map stays": after(func(p *page.Page, r *walrecord.Record, index int) {
			if r.RMID == walrecord.RmgrHeap2 && r.Blocks[index].Fork == walrecord.ForkVM {
				p.ClearMapBits(r.Blocks[1].Block, page.MapBits)
			}
		}),
	} {
		t.Run(name, func(t *testing.T) {
			require.NotZero(t, runSamples(t, 15, broken).failed)
		})
	}
}
