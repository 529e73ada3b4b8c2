package pagestore

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
)

func sampleIndex() *index {
	return &index{
		Generation: 3, Sequence: 9, Timeline: timelineID(1), Parent: timelineID(0), BranchLSN: 0x100, Start: 0x100,
		Flushed: 0x500, Cutoff: 0x200, NextLayer: 8,
		Runs: []runInfo{
			{From: 0x400, To: 0x500, Layers: []layerInfo{}, Drops: []drop{{KeyRange{testKey(2), testKey(7)}, 0x450}}},
			{From: 0x100, To: 0x300, Drops: []drop{}, Layers: []layerInfo{
				{Number: 2, Generation: 1, CRC: 0xDEADBEEF, Size: 4096, Entries: 10, First: testKey(1), Last: testKey(5)},
				{Number: 7, Generation: 3, CRC: 1, Size: 512, Entries: 1, First: testKey(6), Last: testKey(6)},
			}, Ends: []ending{{0x180, 512}, {0x2AF, 3000}}},
		},
		Pins: []Pin{
			{Kind: PinBranch, Name: timelineID(2).String(), LSN: 0x180},
			{Kind: PinLease, Name: "backup", LSN: 0x300, Expires: time.Unix(1_800_000_000, 0)},
		},
	}
}

// The sample pins the format.
func TestIndexSample(t *testing.T) {
	const file = "testdata/index-v2.hex"
	encoded, err := encodeIndex(sampleIndex())
	require.NoError(t, err)
	if os.Getenv("REWRITE") != "" {
		require.NoError(t, os.WriteFile(file, []byte(hex.Dump(encoded)), 0o600))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), hex.Dump(encoded))
	x, _, err := decodeIndex(encoded)
	require.NoError(t, err)
	require.Equal(t, sampleIndex(), x)
}

// An index of version 1 says nothing of garbage: its runs are taken for such, each
// once, when nothing within can be read any more.
func TestIndexOfVersion1(t *testing.T) {
	x, _, err := decodeIndex(indexOfVersion1(t))
	require.NoError(t, err)
	want := sampleIndex()
	want.Runs[1].Ends = []ending{{0x2FF, 4608}}
	require.Equal(t, want, x)
	again, err := encodeIndex(x)
	require.NoError(t, err)
	y, _, err := decodeIndex(again)
	require.NoError(t, err)
	require.Equal(t, x, y)
}

// indexOfVersion1 is one that was written by a program of that time.
func indexOfVersion1(t testing.TB) (content []byte) {
	dump, err := os.ReadFile("testdata/index-v1.hex")
	require.NoError(t, err)
	for line := range strings.Lines(string(dump)) {
		_, columns, _ := strings.Cut(line, "  ")
		columns, _, _ = strings.Cut(columns, "|")
		b, err := hex.DecodeString(strings.ReplaceAll(columns, " ", ""))
		require.NoError(t, err)
		content = append(content, b...)
	}
	return content
}

func TestIndexRefusesNonsense(t *testing.T) {
	for name, edit := range map[string]func(x *index){
		"no timeline":        func(x *index) { x.Timeline = wal.TimelineID{} },
		"own parent":         func(x *index) { x.Parent = x.Timeline },
		"start off branch":   func(x *index) { x.BranchLSN = 0x80 },
		"flushed below":      func(x *index) { x.Flushed = 0x80 },
		"cutoff above":       func(x *index) { x.Cutoff = 0x501 },
		"runs out of order":  func(x *index) { x.Runs[0], x.Runs[1] = x.Runs[1], x.Runs[0] },
		"run upside down":    func(x *index) { x.Runs[0].From = 0x500 },
		"empty run":          func(x *index) { x.Runs[0].Drops = nil },
		"overlapping layers": func(x *index) { x.Runs[1].Layers[1].First = testKey(5) },
		"layer not given":    func(x *index) { x.NextLayer = 7 },
		"drop outside":       func(x *index) { x.Runs[0].Drops[0].lsn = 0x400 },
		"ending twice":       func(x *index) { x.Runs[1].Ends[0].at = 0x2AF },
		"endings too large":  func(x *index) { x.Runs[1].Ends[1].bytes = 4097 },
		"endings overflow":   func(x *index) { x.Runs[1].Ends[1].bytes = ^uint64(0) },
		"pin out of order":   func(x *index) { x.Pins[0].LSN = 0x301 },
		"pin of no kind":     func(x *index) { x.Pins[0].Kind = 9 },
		"pin without name":   func(x *index) { x.Pins[1].Name = "" },
	} {
		x := sampleIndex()
		edit(x)
		encoded, err := encodeIndex(x)
		require.NoError(t, err)
		_, _, err = decodeIndex(encoded)
		require.Error(t, err, name)
	}
	newer, err := encodeIndex(sampleIndex())
	require.NoError(t, err)
	newer[8]++
	_, _, err = decodeIndex(resum(newer))
	require.ErrorIs(t, err, ErrNewerVersion)
}

// resum makes the checksum right again.
func resum(b []byte) []byte {
	if len(b) < 4 {
		return b
	}
	body := b[:len(b)-4]
	return appendSum(body[:len(body):len(body)])
}

// Decoding never panics, never asks for more memory than the input is large, and
// what it accepts encodes to the same bytes, or, of an older version, to the same index.
func FuzzDecodeIndex(f *testing.F) {
	sample, err := encodeIndex(sampleIndex())
	require.NoError(f, err)
	f.Add(sample)
	f.Add(sample[:40])
	f.Add(indexOfVersion1(f))
	f.Add([]byte(indexMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, content := range [][]byte{b, resum(b)} {
			x, offset, err := decodeIndex(content)
			if err != nil {
				require.LessOrEqual(t, offset, int64(len(content)))
				continue
			}
			again, err := encodeIndex(x)
			require.NoError(t, err)
			if content[8] == indexVersion {
				require.Equal(t, content, again)
			}
			y, _, err := decodeIndex(again)
			require.NoError(t, err)
			require.Equal(t, x, y)
		}
	})
}
