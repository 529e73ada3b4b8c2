package page_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute/computetest"
	"github.com/walhaven/walhaven/redo/page"
)

// TestServersPages checks what a real server's files hold: checksums that we
// compute alike, headers that pass our checks.
func TestServersPages(t *testing.T) {
	if testing.Short() {
		t.Skip("makes a cluster")
	}
	server := computetest.New(t, computetest.Options{DataChecksums: true, NoStart: true})
	files, err := filepath.Glob(filepath.Join(server.DataDir(), "base/*/[0-9]*"))
	require.NoError(t, err)
	pages := 0
	for _, name := range files {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		for block := uint32(0); len(b) >= page.Size; b, block = b[page.Size:], block+1 {
			p := page.Page(b[:page.Size])
			if p.IsNew() {
				continue
			}
			require.NoError(t, p.Check(), "%s block %d", name, block)
			require.Equal(t, p.StoredChecksum(), p.Checksum(block), "%s block %d", name, block)
			pages++
		}
	}
	require.Greater(t, pages, 1000)
}
