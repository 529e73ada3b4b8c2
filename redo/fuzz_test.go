package redo

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// seedSamples is how many samples of each version seed the fuzzer.
const seedSamples = 40

// FuzzApply applies records and pages of which some bytes were changed. It must
// not panic, and what lies around the page must stay.
func FuzzApply(f *testing.F) {
	for _, major := range sampleMajors {
		all := loadSamples(f, major)
		for i := 0; i < len(all); i += max(1, len(all)/seedSamples) {
			s := &all[i]
			if len(s.record) < 4000 {
				f.Add(uint8(major), uint8(s.index), s.record, s.before[:])
			}
		}
	}
	f.Fuzz(func(t *testing.T, major, index uint8, record, before []byte) {
		r := walrecord.Record{Major: 14 + int(major)%5}
		if walrecord.Decode(record, 1<<20, 1<<20+wal.LSN(len(record)), &r) != nil {
			return
		}
		var guarded struct {
			low  [64]byte
			page page.Page
			high [64]byte
		}
		copy(guarded.page[:], before)
		guarded.page.SetLSN(1)
		if err := Apply(&guarded.page, &r, int(index), Options{}); err != nil {
			require.NotEmpty(t, err.Error())
		}
		require.Equal(t, [64]byte{}, guarded.low)
		require.Equal(t, [64]byte{}, guarded.high)
	})
}
