package datadir

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A child that is being forked while a directory is closed has the lock's file open,
// too.
func TestLockIsGivenBackThoughAChildHasTheFile(t *testing.T) {
	path := t.TempDir()
	d, err := Open(path, "safekeeper", 1)
	require.NoError(t, err)
	_, err = Open(path, "safekeeper", 1)
	require.ErrorIs(t, err, ErrLocked)
	childs, err := unix.Dup(int(d.lock.Fd()))
	require.NoError(t, err)
	defer unix.Close(childs) //nolint:errcheck // Nothing was written.
	require.NoError(t, d.Close())
	d, err = Open(path, "safekeeper", 1)
	require.NoError(t, err)
	require.NoError(t, d.Close())
}
