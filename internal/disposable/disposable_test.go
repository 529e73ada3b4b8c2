package disposable_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/disposable"
)

func place(t *testing.T, dir string) disposable.Place {
	t.Helper()
	p, err := disposable.Here(dir)
	require.NoError(t, err)
	require.NotEmpty(t, p.Boot)
	require.NotEmpty(t, p.Filesystem)
	return p
}

func dataDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "pg_wal"), 0o700))
	return dir
}

func TestMarkerIsSetKeptAndCleared(t *testing.T) {
	dir := dataDir(t)
	marked, err := disposable.Check(dir)
	require.NoError(t, err)
	require.False(t, marked)
	require.NoError(t, disposable.Clear(dir), "nothing to clear")

	require.NoError(t, disposable.Set(dir))
	require.NoError(t, disposable.Set(dir), "again in the same place")
	p, err := disposable.Read(dir)
	require.NoError(t, err)
	require.Equal(t, place(t, dir), *p)
	marked, err = disposable.Check(dir)
	require.NoError(t, err)
	require.True(t, marked)

	require.NoError(t, disposable.Clear(dir))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "only pg_wal: no marker and no other file stays")
}

// Any other place condemns the directory, and neither setting nor clearing the
// marker hides it.
func TestAnotherPlaceCondemns(t *testing.T) {
	dir := dataDir(t)
	here := place(t, dir)
	for name, change := range map[string]func(*disposable.Place){
		"started anew": func(p *disposable.Place) { p.Boot = "8e6c" + p.Boot[4:] },
		"on machine":   func(p *disposable.Place) { p.Machine += "0" },
		"filesystem":   func(p *disposable.Place) { p.Filesystem = "0" + p.Filesystem },
	} {
		p := here
		change(&p)
		require.NoError(t, disposable.Write(dir, p))
		for _, try := range []func() error{
			func() error { _, err := disposable.Check(dir); return err },
			func() error { return disposable.Set(dir) },
			func() error { return disposable.Clear(dir) },
		} {
			err := try()
			require.ErrorIs(t, err, disposable.ErrCondemned)
			require.ErrorContains(t, err, name)
		}
		still, err := disposable.Read(dir)
		require.NoError(t, err)
		require.Equal(t, p, *still)
	}
}

func TestDamagedMarkerCondemns(t *testing.T) {
	dir := dataDir(t)
	for _, content := range []string{"", "{", "{}", `{"boot":7}`, `{"boot":"x"}` + string(make([]byte, 5000))} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, disposable.MarkerName), []byte(content), 0o600))
		_, err := disposable.Check(dir)
		require.ErrorIs(t, err, disposable.ErrCondemned, "%.20q", content)
	}
}
