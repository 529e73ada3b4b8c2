package chaos

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// fill writes a file until the disk of the safekeeper is full; empty removes it.
func (k *keeper) fill(t *testing.T) (empty func()) {
	ballast := filepath.Join(k.disk, "ballast")
	f, err := os.Create(ballast)
	require.NoError(t, err)
	for chunk := make([]byte, 1<<20); len(chunk) > 0; {
		if _, err := f.Write(chunk); errors.Is(err, syscall.ENOSPC) {
			chunk = chunk[:len(chunk)/2]
		} else {
			require.NoError(t, err)
		}
	}
	require.NoError(t, f.Close())
	return func() { require.NoError(t, os.Remove(ballast)) }
}
