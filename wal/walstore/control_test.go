package walstore

import (
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"os"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/wal"
)

func sampleControl() Control {
	c := testControl()
	c.History = wal.TimelineHistory{Last: 3, Ancestors: []wal.HistoryEntry{
		{TLI: 1, Switch: 0x500000, Reason: "no recovery target specified"}, {TLI: 2, Switch: 0x600000},
	}}
	c.Watermark = testStart + 64
	return c
}

// TestControlFileVersion1 reads a committed file, so that later programs still
// read what this one wrote.
func TestControlFileVersion1(t *testing.T) {
	text, err := os.ReadFile("testdata/control-v1.hex")
	require.NoError(t, err)
	want, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	require.NoError(t, err)
	c, clean, err := decodeControl(want)
	require.NoError(t, err)
	require.True(t, clean)
	require.Empty(t, cmp.Diff(sampleControl(), c))
	require.Equal(t, want, encodeControl(sampleControl(), true))
}

// seal puts a right checksum behind b's content.
func sealed(b []byte) []byte {
	b = b[:len(b)-4]
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func TestDamagedControlFiles(t *testing.T) {
	for name, damage := range map[string]func(b []byte) []byte{
		"empty":         func([]byte) []byte { return nil },
		"short":         func(b []byte) []byte { return b[:40] },
		"cut":           func(b []byte) []byte { return b[:len(b)-1] },
		"magic":         func(b []byte) []byte { b[0] ^= 1; return b },
		"bit":           func(b []byte) []byte { b[60] ^= 4; return b },
		"checksum":      func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"version 0":     func(b []byte) []byte { b[8] = 0; return sealed(b) },
		"length":        func(b []byte) []byte { b[12]++; return sealed(b) },
		"segment size":  func(b []byte) []byte { b[16+44] = 3; return sealed(b) },
		"start":         func(b []byte) []byte { b[16+48] = 1; return sealed(b) },
		"watermark":     func(b []byte) []byte { clear(b[16+56 : 16+64]); return sealed(b) },
		"history":       func(b []byte) []byte { b[16+68] = 1; return sealed(b) },
		"ancestors":     func(b []byte) []byte { b[16+75] = 0xff; return sealed(b) },
		"extra":         func(b []byte) []byte { return append(b, 0) },
		"extra content": func(b []byte) []byte { b = append(b, 0); b[12]++; return sealed(b) },
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			require.NoError(t, fs.MkdirAll("/data", 0o700))
			require.NoError(t, fs.MkdirAll("/data/tenant", 0o700))
			require.NoError(t, fs.MkdirAll(testDir, 0o700))
			d := disk{fs: fs, dir: testDir, m: NewMetrics(nil, "safekeeper")}
			f, err := d.create(ControlFileName)
			require.NoError(t, err)
			_, err = f.WriteAt(damage(encodeControl(sampleControl(), false)), 0)
			require.NoError(t, err)
			require.NoError(t, f.Close())
			var corrupt *CorruptionError
			_, err = ReadControl(fs, testDir)
			require.ErrorAs(t, err, &corrupt)
			require.Equal(t, ControlFileName, corrupt.File)
			_, err = Open(testDir, Options{FS: fs})
			require.ErrorAs(t, err, &corrupt)
		})
	}
}

func TestNewerControlFileIsRefused(t *testing.T) {
	b := encodeControl(sampleControl(), false)
	binary.LittleEndian.PutUint32(b[8:], controlVersion+1)
	_, _, err := decodeControl(append(b, "whatever a newer version adds"...))
	require.ErrorIs(t, err, ErrNewerVersion)
	require.ErrorContains(t, err, "version 2")
	require.ErrorContains(t, err, "run the newer walhaven")
}

func TestSaveControlEdits(t *testing.T) {
	o := Options{FS: vfs.NewMem()}
	s := create(t, o)
	require.NoError(t, s.SaveControl(func(c *Control) {
		c.State, c.Name = []byte("x"), "branch"
		c.ID, c.Start, c.SegmentSize, c.Watermark = wal.TTID{}, 8, 0, 1<<40
	}))
	require.Error(t, s.SaveControl(func(c *Control) { c.State = make([]byte, MaxStateSize+1) }))
	require.Error(t, s.SaveControl(func(c *Control) { c.Name = strings.Repeat("n", 256) }))
	require.Error(t, s.SaveControl(func(c *Control) { c.History = wal.TimelineHistory{} }))
	require.NoError(t, s.Fenced(), "a refused edit is no failure of the disk")
	got := s.Control()
	got.State[0] = 'y'
	shut(t, s)
	c, err := ReadControl(o.FS, testDir)
	require.NoError(t, err)
	want := testControl()
	want.State, want.Name, want.Watermark = []byte("x"), "branch", testStart
	require.Empty(t, cmp.Diff(want, c))
}

func FuzzDecodeControl(f *testing.F) {
	f.Add(encodeControl(sampleControl(), true))
	f.Add(encodeControl(testControl(), false))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= controlHeaderSize+4 {
			b = sealed(b) // The checksum would hide the rest from the fuzzer.
		}
		c, clean, err := decodeControl(b)
		if err != nil {
			return
		}
		again, cleanAgain, err := decodeControl(encodeControl(c, clean))
		require.NoError(t, err)
		require.Equal(t, clean, cleanAgain)
		require.Empty(t, cmp.Diff(c, again))
	})
}
