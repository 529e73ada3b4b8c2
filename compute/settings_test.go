package compute

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestSettingsSurviveTheirFile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-z_]{1,20}(\.[a-z_]{1,10})?`)
		value := rapid.StringMatching(`[^\n\r\x00]{0,40}`)
		want := rapid.MapOf(name, value).Draw(t, "settings")
		text, err := formatSettings(want)
		require.NoError(t, err)
		got, err := parseSettings(text)
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
}

func TestSettingsThatCannotBeWritten(t *testing.T) {
	for _, bad := range []map[string]string{{"": "x"}, {"a b": "x"}, {"a=b": ""}, {"a": "x\ny"}, {"a": "\x00"}} {
		_, err := formatSettings(bad)
		require.Error(t, err, bad)
	}
	for _, text := range []string{"port", "port = 1", "port = '", "= 'x'"} {
		_, err := parseSettings(text)
		require.Error(t, err, text)
	}
}

func TestWriteSettingsIncludesOnce(t *testing.T) {
	dir := t.TempDir()
	conf := filepath.Join(dir, "postgresql.conf")
	require.NoError(t, os.WriteFile(conf, []byte("port = 1\n"), 0o600))
	for range 3 {
		require.NoError(t, writeSettings(dir, map[string]string{"port": "2"}))
	}
	text, err := os.ReadFile(conf)
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(text), "walhaven.conf"))
	settings, err := readSettings(dir)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"port": "2"}, settings)
}

func TestConninfoQuoting(t *testing.T) {
	for value, want := range map[string]string{
		"postgres": "postgres", "": "''", "a b": "'a b'", `it's \`: `'it\'s \\'`,
	} {
		require.Equal(t, want, quoteConninfo(value))
	}
}

func TestLongPathsGetAShortSocketDir(t *testing.T) {
	parent := filepath.Join(t.TempDir(), strings.Repeat("x", 120))
	require.NoError(t, os.Mkdir(parent, 0o755))
	dir, err := chooseSocketDir(parent)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.True(t, fitsSocket(dir))
	require.Equal(t, filepath.Clean(os.TempDir()), filepath.Dir(dir))
}

func TestFreePortNeverRepeats(t *testing.T) {
	seen := map[int]bool{}
	for range 50 {
		port, err := FreePort()
		require.NoError(t, err)
		require.False(t, seen[port])
		seen[port] = true
		_, err = reserve(port)
		require.ErrorIs(t, err, syscall.EADDRINUSE, "no other process takes it")
	}
}
