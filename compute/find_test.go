package compute

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseVersion(t *testing.T) {
	for line, want := range map[string]string{
		"postgres (PostgreSQL) 17.10":                            "17.10 170010",
		"postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)":   "15.18 150018",
		"psql (PostgreSQL) 18rc1":                                "18.0 180000",
		"pg_basebackup (PostgreSQL) 14.23 (Ubuntu 14.23-1.pgdg)": "14.23 140023",
	} {
		v, err := ParseVersion(line)
		require.NoError(t, err, line)
		require.Equal(t, want, fmt.Sprintf("%s %d", v, v.Num()))
	}
	for _, line := range []string{"", "postgres", "mysqld  Ver 8", "postgres (PostgreSQL) x"} {
		_, err := ParseVersion(line)
		require.Error(t, err, line)
	}
}

// fakeInstall makes a folder with programs that only know their version.
func fakeInstall(t *testing.T, dir, version string, tools ...string) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o755))
	for _, name := range append([]string{"postgres", "initdb"}, tools...) {
		script := fmt.Sprintf("#!/bin/sh\necho '%s (PostgreSQL) %s'\n", name, version)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755))
	}
	return dir
}

func onlyThese(t *testing.T, patterns ...string) string {
	t.Helper()
	tools := t.TempDir()
	t.Setenv("PG_CONFIG", "")
	t.Setenv("PATH", "/nonexistent")
	t.Setenv("WALHAVEN_TOOLS", tools)
	before := distributionDirs
	distributionDirs = patterns
	t.Cleanup(func() { distributionDirs = before })
	return tools
}

func TestFindOrder(t *testing.T) {
	root := t.TempDir()
	tools := onlyThese(t, filepath.Join(root, "lib", "*", "bin"))
	_, err := Find(t.Context(), Want{})
	require.ErrorIs(t, err, ErrNotFound)

	unpacked17 := fakeInstall(t, filepath.Join(tools, "pg", "17", "package", "native", "bin"), "17.1")
	in, err := Find(t.Context(), Want{})
	require.NoError(t, err)
	require.Equal(t, unpacked17, in.BinDir)
	require.Equal(t, filepath.Join(tools, "pg", "17", "package", "native", "lib"), in.LibDir)

	dist9 := fakeInstall(t, filepath.Join(root, "lib", "9.6", "bin"), "9.6.1")
	dist14 := fakeInstall(t, filepath.Join(root, "lib", "14", "bin"), "14.1", "psql", "pg_basebackup", "pg_waldump")
	dist16 := fakeInstall(t, filepath.Join(root, "lib", "16", "bin"), "16.1", "psql")
	in, err = Find(t.Context(), Want{})
	require.NoError(t, err)
	require.Equal(t, dist16, in.BinDir, "the distribution's newest before unpacked ones")

	onPath := fakeInstall(t, filepath.Join(root, "real"), "14.9")
	links := filepath.Join(root, "links")
	require.NoError(t, os.Mkdir(links, 0o755))
	require.NoError(t, os.Symlink(filepath.Join(onPath, "postgres"), filepath.Join(links, "postgres")))
	t.Setenv("PATH", links)
	in, err = Find(t.Context(), Want{})
	require.NoError(t, err)
	require.Equal(t, onPath, in.BinDir, "PATH before the distribution, through links")

	configured := fakeInstall(t, filepath.Join(root, "configured"), "15.2")
	config := filepath.Join(root, "pg_config")
	require.NoError(t, os.WriteFile(config, []byte("#!/bin/sh\necho "+configured+"\n"), 0o755))
	t.Setenv("PG_CONFIG", config)
	in, err = Find(t.Context(), Want{})
	require.NoError(t, err)
	require.Equal(t, configured, in.BinDir, "PG_CONFIG before PATH")

	in, err = Find(t.Context(), Want{Major: 17})
	require.NoError(t, err)
	require.Equal(t, unpacked17, in.BinDir, "a wanted major over all of that")

	in, err = Find(t.Context(), Want{BinDir: dist14})
	require.NoError(t, err)
	require.Equal(t, 14, in.Version.Major)

	_, err = Find(t.Context(), Want{BinDir: dist14, Major: 15})
	require.ErrorContains(t, err, "holds PostgreSQL 14.1")
	_, err = Find(t.Context(), Want{BinDir: dist9})
	require.ErrorContains(t, err, "works with majors 14 to 18")
	_, err = Find(t.Context(), Want{BinDir: root})
	require.ErrorContains(t, err, "no postgres in")
	_, err = Find(t.Context(), Want{Major: 13})
	require.ErrorContains(t, err, "works with majors 14 to 18")
	_, err = Find(t.Context(), Want{Major: 18})
	require.ErrorIs(t, err, ErrNotFound)
}

func TestToolsAreBorrowedFromTheBestOther(t *testing.T) {
	root := t.TempDir()
	onlyThese(t, filepath.Join(root, "*", "bin"))
	fakeInstall(t, filepath.Join(root, "14", "bin"), "14.1", "psql", "pg_waldump", "pg_basebackup")
	own := fakeInstall(t, filepath.Join(root, "16", "bin"), "16.1", "pgbench")
	newer := fakeInstall(t, filepath.Join(root, "18", "bin"), "18.1", "psql")

	in, err := Find(t.Context(), Want{Major: 16})
	require.NoError(t, err)
	for name, dir := range map[string]string{
		"pgbench": own, "psql": newer, "pg_basebackup": filepath.Join(root, "14", "bin"),
	} {
		path, err := in.Tool(name)
		require.NoError(t, err)
		require.Equal(t, filepath.Join(dir, name), path)
	}
	_, err = in.Tool("pg_waldump")
	require.ErrorIs(t, err, ErrNoTool, "it reads files of its own major only")
}

func TestWantFromEnv(t *testing.T) {
	t.Setenv("PG", "17")
	t.Setenv("WALHAVEN_PG_BIN", "/x")
	w, err := WantFromEnv()
	require.NoError(t, err)
	require.Equal(t, Want{Major: 17, BinDir: "/x"}, w)
	t.Setenv("PG", "seventeen")
	_, err = WantFromEnv()
	require.ErrorContains(t, err, "want a major")
}
