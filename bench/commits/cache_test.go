package main

import (
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestFilesLeaveTheCache(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a", "b")
	require.NoError(t, os.Mkdir(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, make([]byte, 1<<20), 0o600))
	var st unix.Statfs_t
	require.NoError(t, unix.Statfs(dir, &st))
	if st.Type == unix.TMPFS_MAGIC {
		t.Skip("files of a tmpfs are nowhere else")
	}
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	cached := func() (pages int) {
		mem, err := unix.Mmap(int(f.Fd()), 0, 1<<20, unix.PROT_READ, unix.MAP_SHARED)
		require.NoError(t, err)
		defer unix.Munmap(mem) //nolint:errcheck // Of the test.
		in := make([]byte, len(mem)/os.Getpagesize())
		_, _, e := unix.Syscall(unix.SYS_MINCORE, addressOf(mem), uintptr(len(mem)), addressOf(in))
		require.Zero(t, e)
		for _, b := range in {
			pages += int(b & 1)
		}
		return pages
	}
	require.NotZero(t, cached())
	require.NoError(t, forget(dir))
	require.Zero(t, cached())
}

func addressOf(b []byte) uintptr { return uintptr(unsafe.Pointer(&b[0])) }
