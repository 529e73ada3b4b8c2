package durablefile

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for _, content := range []string{"old", "new and longer", ""} {
		require.NoError(t, Replace(path, []byte(content), 0o644))
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, content, string(got))
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o644), info.Mode(), "whatever the umask")
	}
	require.NoError(t, ReplaceForOwner(path, []byte("secret")))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())

	// What fails leaves all as it was.
	folder := filepath.Join(dir, "folder")
	require.NoError(t, os.Mkdir(folder, 0o700))
	require.Error(t, Replace(folder, []byte("x"), 0o600))
	require.Error(t, Replace(filepath.Join(dir, "none", "file"), nil, 0o600))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2)
}

func TestTheDirectorysOwnerHasTheFile(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	dir := t.TempDir()
	require.NoError(t, os.Chown(dir, 12345, 23456))
	path := filepath.Join(dir, "file")
	require.NoError(t, ReplaceForOwner(path, []byte("x")))
	info, err := os.Stat(path)
	require.NoError(t, err)
	st, ok := info.Sys().(*syscall.Stat_t)
	require.True(t, ok)
	require.Equal(t, [2]uint32{12345, 23456}, [2]uint32{st.Uid, st.Gid})
	require.NoError(t, Replace(path, []byte("y"), 0o600))
	info, err = os.Stat(path)
	require.NoError(t, err)
	st, ok = info.Sys().(*syscall.Stat_t)
	require.True(t, ok)
	require.Equal(t, uint32(os.Geteuid()), st.Uid)
}
