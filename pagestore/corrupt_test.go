package pagestore

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

func readAll(t *testing.T, fs vfs.FS, path string) []byte {
	t.Helper()
	f, err := fs.Open(path)
	require.NoError(t, err)
	defer f.Close()
	b, err := io.ReadAll(f)
	require.NoError(t, err)
	return b
}

func writeAll(t *testing.T, fs vfs.FS, path string, content []byte) {
	t.Helper()
	f, err := fs.Create(path, writeCategory)
	require.NoError(t, err)
	_, err = f.Write(bytes.Clone(content))
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// damagedHistory is what those files hold.
func damagedHistory() *history {
	h := &history{start: 100, last: 100, cutoff: 100}
	for i := range 120 {
		h.last += 8
		e := Entry{Key: testKey(i % 7), LSN: h.last, Kind: Delta, Value: fmt.Appendf(nil, "<%d>", i)}
		if i < 7 {
			e.Kind = Image
		}
		h.entries = append(h.entries, e)
	}
	return h
}

// damaged makes a store with one layer and an index, and returns its disk with
// the path of the file of each kind.
func damaged(t *testing.T) (*vfs.MemFS, *history, map[string]string) {
	t.Helper()
	fs := vfs.NewMem()
	h := damagedHistory()
	s := mustOpen(t, layerOptions(fs))
	tl, err := s.Create(timelineID(0), h.start)
	require.NoError(t, err)
	for _, e := range h.entries {
		require.Equal(t, e.LSN, put(t, tl, e))
	}
	require.NoError(t, tl.Flush(t.Context()))
	require.NoError(t, s.Close())
	dir := fs.PathJoin(testDir, timelineID(0).String())
	names, err := fs.List(dir)
	require.NoError(t, err)
	paths := map[string]string{}
	for _, name := range names {
		if strings.HasSuffix(name, layerSuffix) {
			paths["layer"] = fs.PathJoin(dir, name)
		} else {
			paths["index"] = fs.PathJoin(dir, name)
		}
	}
	require.Len(t, paths, 2)
	return fs, h, paths
}

func layerOptions(fs vfs.FS) Options {
	return Options{FS: fs, BlockSize: 512, CacheSize: 1 << 20}
}

// Whatever bit is flipped, wherever a file is cut: the answer is right or an
// error that names the file, never wrong bytes.
func TestDamageIsNeverAnAnswer(t *testing.T) {
	fs, h, paths := damaged(t)
	rng := rand.New(rand.NewPCG(1, 2))
	for kind, path := range paths {
		whole := readAll(t, fs, path)
		found, tries := 0, 0
		attempt := func(name string, content []byte) {
			tries++
			// Opening writes the index anew under the next number: work on a copy.
			clone := vfs.NewMem()
			for k, p := range paths {
				require.NoError(t, clone.MkdirAll(clone.PathDir(p), 0o700))
				if k == kind {
					writeAll(t, clone, p, content)
				} else {
					writeAll(t, clone, p, readAll(t, fs, p))
				}
			}
			s, err := Open(testDir, layerOptions(clone))
			if err == nil {
				tl, e := s.Timeline(timelineID(0))
				require.NoError(t, e)
				err = h.check(tl, h.last, 7)
				require.NoError(t, s.Close())
			}
			if err == nil {
				return // A bit that nothing reads.
			}
			found++
			var damage *CorruptionError
			require.ErrorAs(t, err, &damage, name)
			require.Equal(t, fs.PathBase(path), damage.File)
			require.Equal(t, timelineID(0), damage.Timeline)
			require.Contains(t, err.Error(), damage.File)
		}
		step := max(1, len(whole)/400)
		for at := 0; at < len(whole); at += step {
			broken := bytes.Clone(whole)
			broken[at] ^= 1 << rng.IntN(8)
			attempt(fmt.Sprintf("%s: byte %d", kind, at), broken)
		}
		require.Greater(t, found, tries*8/10, "%s: too little damage was noticed", kind)
		before := found
		for range 20 {
			attempt(kind+" cut", whole[:rng.IntN(len(whole))])
		}
		attempt(kind+" longer", append(bytes.Clone(whole), 0))
		require.Equal(t, before+21, found, "a file of another length was not noticed")
		t.Logf("%s of %d bytes: %d of %d damages found by reading", kind, len(whole), found, tries)
	}
}

// Verify finds every flipped bit, those included that nothing reads.
func TestVerifyFindsEveryBit(t *testing.T) {
	fs, _, paths := damaged(t)
	s := mustOpen(t, layerOptions(fs))
	defer s.Close()
	tl, err := s.Timeline(timelineID(0))
	require.NoError(t, err)
	require.NoError(t, tl.Verify(t.Context()))
	whole := readAll(t, fs, paths["layer"])
	for at := 0; at < len(whole); at += 7 {
		broken := bytes.Clone(whole)
		broken[at] ^= 1 << (at % 8)
		writeAll(t, fs, paths["layer"], broken)
		var damage *CorruptionError
		require.ErrorAs(t, tl.Verify(t.Context()), &damage, "byte %d", at)
	}
}

func TestMissingLayerIsRefusedAtOpen(t *testing.T) {
	fs, _, paths := damaged(t)
	require.NoError(t, fs.Remove(paths["layer"]))
	_, err := Open(testDir, layerOptions(fs))
	var damage *CorruptionError
	require.ErrorAs(t, err, &damage)
	require.Contains(t, err.Error(), fs.PathBase(paths["layer"]))
}
