package datadir_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/datadir"
	"github.com/walhaven/walhaven/wal"
)

// Each timeline is opened once, other folders never, and none when the program ends.
func TestEachTimelineIsOpened(t *testing.T) {
	root := t.TempDir()
	want := map[wal.TTID]int{}
	for i := range byte(9) {
		id := wal.TTID{Tenant: wal.TenantID{15: i % 2}, Timeline: wal.TimelineID{15: i}}
		want[id] = 1
		require.NoError(t, os.MkdirAll(datadir.TimelinePath(root, id), 0o700))
	}
	require.NoError(t, os.MkdirAll(filepath.Join(root, "lost+found", wal.TimelineID{}.String()), 0o700))
	require.NoError(t, os.MkdirAll(filepath.Join(root, wal.TenantID{}.String(), "other"), 0o700))
	var mu sync.Mutex
	got := map[wal.TTID]int{}
	open := func(id wal.TTID) {
		mu.Lock()
		defer mu.Unlock()
		got[id]++
	}
	require.NoError(t, datadir.EachTimeline(t.Context(), root, open))
	require.Equal(t, want, got)

	ending := errors.New("ending")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(ending)
	clear(got)
	require.ErrorIs(t, datadir.EachTimeline(ctx, root, open), ending)
	require.Empty(t, got)
}
