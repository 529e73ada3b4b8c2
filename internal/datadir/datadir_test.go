package datadir

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

func TestIdentityIsMadeOnceAndKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	d, err := Open(path, "safekeeper", 3)
	require.NoError(t, err)
	require.NotZero(t, d.Identity.Incarnation)

	_, err = Open(path, "safekeeper", 3)
	require.ErrorIs(t, err, ErrLocked)
	require.NoError(t, d.Close())

	_, err = Open(path, "safekeeper", 4)
	require.ErrorContains(t, err, "belongs to node 3")
	_, err = Open(path, "pageserver", 3)
	require.ErrorContains(t, err, "belongs to a safekeeper")

	again, err := Open(path, "safekeeper", 0)
	require.NoError(t, err)
	require.Equal(t, d.Identity, again.Identity)
	require.NoError(t, again.Close())
}

func TestIncarnationsDiffer(t *testing.T) {
	a, err := Open(t.TempDir(), "safekeeper", 1)
	require.NoError(t, err)
	b, err := Open(t.TempDir(), "safekeeper", 1)
	require.NoError(t, err)
	require.NotEqual(t, a.Identity.Incarnation, b.Identity.Incarnation)
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
}

func TestLostIdentityIsNotReplaced(t *testing.T) {
	path := t.TempDir()
	d, err := Open(path, "safekeeper", 1)
	require.NoError(t, err)
	require.NoError(t, d.Close())
	require.NoError(t, os.Mkdir(filepath.Join(path, "tenant"), 0o700))
	require.NoError(t, os.Remove(filepath.Join(path, IdentityFile)))

	_, err = Open(path, "safekeeper", 1)
	require.ErrorContains(t, err, "is not empty")
}

func TestNewDirectoryNeedsID(t *testing.T) {
	_, err := Open(t.TempDir(), "safekeeper", 0)
	require.ErrorContains(t, err, "needs a node ID")
}

func TestSealedFileDetectsEachFlippedByte(t *testing.T) {
	fs := vfs.NewMem()
	require.NoError(t, fs.MkdirAll("d", 0o700))
	const content = "one 1\ntwo 2\n"
	require.NoError(t, WriteSealed(fs, "d", "f", content))
	got, err := ReadSealed(fs, "d", "f")
	require.NoError(t, err)
	require.Equal(t, content, got)

	_, err = ReadSealed(fs, "d", "missing")
	require.ErrorIs(t, err, os.ErrNotExist)

	sealed := sealedBytes(t, fs, "d/f")
	for i := range sealed {
		damaged := append([]byte(nil), sealed...)
		damaged[i] ^= 0x20
		_, err := unseal(damaged)
		require.ErrorIs(t, err, ErrDamaged, "byte %d", i)
		_, err = unseal(sealed[:i])
		require.ErrorIs(t, err, ErrDamaged, "cut at %d", i)
	}
}

func TestSealedFileSurvivesCrash(t *testing.T) {
	fs := vfs.NewCrashableMem()
	require.NoError(t, fs.MkdirAll("d", 0o700))
	root, err := fs.OpenDir("")
	require.NoError(t, err)
	require.NoError(t, root.Sync())
	require.NoError(t, root.Close())
	require.NoError(t, WriteSealed(fs, "d", "f", "old\n"))
	require.NoError(t, WriteSealed(fs, "d", "f", "new\n"))

	crashed := fs.CrashClone(vfs.CrashCloneCfg{})
	got, err := ReadSealed(crashed, "d", "f")
	require.NoError(t, err)
	require.Equal(t, "new\n", got)
}

// A process that was killed right after the rename leaves a name that only the
// page cache has: whoever goes by the identity makes it durable first.
func TestIdentityThatWasReadIsDurable(t *testing.T) {
	fs := vfs.NewCrashableMem()
	require.NoError(t, fs.MkdirAll("d", 0o700))
	require.NoError(t, SyncDir(fs, ""))
	made := Identity{Program: "safekeeper", ID: 3, Incarnation: [16]byte{1}}
	require.NoError(t, WriteSealed(fs, "d", "new", made.format()))
	require.NoError(t, fs.Rename("d/new", "d/"+IdentityFile))
	got, err := loadOrFound(fs, "d", "safekeeper", 3)
	require.NoError(t, err)
	require.Equal(t, made, got)

	crashed := fs.CrashClone(vfs.CrashCloneCfg{})
	got, err = loadOrFound(crashed, "d", "safekeeper", 3)
	require.NoError(t, err)
	require.Equal(t, made, got)
}

func sealedBytes(t *testing.T, fs vfs.FS, path string) []byte {
	t.Helper()
	f, err := fs.Open(path)
	require.NoError(t, err)
	st, err := f.Stat()
	require.NoError(t, err)
	b := make([]byte, st.Size())
	_, err = f.ReadAt(b, 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return b
}
