package chaos

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/stretchr/testify/require"
)

// requireSameWAL compares the segments that safekeepers have whole, any two of
// them: up to the commit position they hold the same bytes. Each may remove what
// it need not keep meanwhile.
func (w *world) requireSameWAL() {
	w.t.Helper()
	c := w.primary.Load().loadCluster()
	dir := func(m machine) string {
		return filepath.Join(w.dir, m.String(), "data", c.Tenant.String(), c.Timeline.String())
	}
	compared := 0
	for m := safekeeper1; m <= safekeeper3; m++ {
		other := m%safekeeper3 + 1
		files, err := filepath.Glob(filepath.Join(dir(m), "0000000*"))
		require.NoError(w.t, err)
		for _, file := range files {
			if strings.Contains(filepath.Base(file), ".") {
				continue
			}
			left, errLeft := os.ReadFile(file)
			right, errRight := os.ReadFile(filepath.Join(dir(other), filepath.Base(file)))
			err := errors.Join(errLeft, errRight)
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			require.NoError(w.t, err)
			require.True(w.t, bytes.Equal(left, right), "%s differs between %s and %s", filepath.Base(file), m, other)
			compared++
		}
	}
	require.Positive(w.t, compared)
	w.t.Logf("%d segments compared between safekeepers", compared)
}
