package redo

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// The revmap has 1360 slots a page, in the order of ranges.
func TestBRINRevmapSlots(t *testing.T) {
	require.Equal(t, 1360, brinRevmapSlots)
	var empty page.Page
	initBRIN(&empty, brinTypeRevmap)
	empty.SetLSN(0x1000)
	for _, c := range []struct{ heapBlock, perRange, slot uint32 }{
		{0, 1, 0}, {1, 1, 1}, {1359, 1, 1359}, {1360, 1, 0}, {255, 128, 1}, {0xFFFFFFFF, 1, 0xFFFFFFFF % 1360},
	} {
		main := slices.Concat(le32(c.heapBlock, c.perRange), le16(6))
		r := handMade(walrecord.RmgrBRIN, brinInsert, main, walrecord.Block{ID: 0}, walrecord.Block{ID: 1})
		p := applied(t, r, 1, empty)
		want := empty
		putTupleID(want[page.HeaderSize+6*c.slot:], 100, 6)
		want.SetLSN(r.End)
		require.Equal(t, &want, p)

		main = slices.Concat(le32(c.perRange, c.heapBlock), le16(6))
		r = handMade(walrecord.RmgrBRIN, brinDesummarize, main, walrecord.Block{ID: 0})
		putTupleID(want[page.HeaderSize+6*c.slot:], invalidBlock, 0)
		require.Equal(t, &want, applied(t, r, 0, empty))
	}
	r := handMade(walrecord.RmgrBRIN, brinInsert, slices.Concat(le32(5, 0), le16(6)), walrecord.Block{ID: 0}, walrecord.Block{ID: 1})
	require.ErrorIs(t, Apply(&empty, r, 1, Options{}), errBadRecord) // No division by zero.
}

// Numbers of BRIN tuples stay when others go: the revmap holds them.
func TestBRINKeepsNumbers(t *testing.T) {
	var p page.Page
	initBRIN(&p, brinTypeRegular)
	for k := range byte(3) {
		require.NoError(t, p.Append([]byte{k, k, k, k, k, k, k, k}))
	}
	p.SetLSN(0x1000)
	main := slices.Concat(le16(2, 0), le32(0, 1), le16(1))
	update := handMade(walrecord.RmgrBRIN, brinUpdate, main, walrecord.Block{ID: 0}, walrecord.Block{ID: 2})
	gone := applied(t, update, 1, p)
	require.Equal(t, 3, gone.MaxOffset())
	require.Equal(t, page.Unused, gone.Pointer(2).Flags())

	gone.SetLSN(0x1000)
	tuple := []byte{9, 9, 9, 9, 9, 9, 9, 9, 9}
	insert := handMade(walrecord.RmgrBRIN, brinInsert, slices.Concat(le32(0, 1), le16(2)), walrecord.Block{ID: 0, Data: tuple})
	again := applied(t, insert, 0, *gone)
	got, err := again.Item(2)
	require.NoError(t, err)
	require.Equal(t, tuple, got)
	require.ErrorIs(t, Apply(&p, insert, 0, Options{}), page.ErrUsed)
}
