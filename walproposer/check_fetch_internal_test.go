package walproposer

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/pgdata"
	"github.com/walhaven/walhaven/wal"
)

// WAL is fetched for a crashed primary that lacks the last bit alone: another one
// would not replay it, or not be what it was.
func TestOnlyACrashedPrimaryIsCompleted(t *testing.T) {
	const inProduction pgdata.State = 6
	crashed := pgdata.Directory{Control: pgdata.Control{State: inProduction, TLI: 2, SegmentSize: wal.DefaultSegmentSize}, Oldest: 4 << 24, End: 5 << 24}
	end := crashed.End + 5000
	require.True(t, fetchable(&crashed, false, end, 2))
	require.False(t, fetchable(&crashed, false, crashed.End, 2), "nothing is missing")
	require.False(t, fetchable(&crashed, false, crashed.End+maxFetch+1, 2), "an older copy")
	require.False(t, fetchable(&crashed, false, end, 3), "another server was promoted")
	require.False(t, fetchable(&crashed, true, end, 2), "it ran without fsync")
	for name, change := range map[string]func(*pgdata.Directory){
		"stopped in order: it would not replay": func(d *pgdata.Directory) { d.State = pgdata.ShutDown },
		"a standby that was stopped":            func(d *pgdata.Directory) { d.State = pgdata.ShutDownInRecovery },
		"a standby":                             func(d *pgdata.Directory) { d.Standby = true },
		"a base backup":                         func(d *pgdata.Directory) { d.BackupStart = 1 << 24 },
		"no WAL at all":                         func(d *pgdata.Directory) { d.Oldest = d.End },
	} {
		d := crashed
		change(&d)
		require.False(t, fetchable(&d, false, end, 2), name)
	}
}

// What is written lies where PostgreSQL looks for it, in whole segments.
func TestFetchedWALLiesInSegments(t *testing.T) {
	d := &pgdata.Directory{Control: pgdata.Control{TLI: 3, SegmentSize: 1 << 20}, Path: t.TempDir()}
	folder := filepath.Join(d.Path, "pg_wal")
	require.NoError(t, os.Mkdir(folder, 0o700))
	at := wal.LSN(7<<20 + 100)
	data := bytes.Repeat([]byte("walhaven"), 3<<20/8)
	require.ErrorIs(t, writeWAL(d, at, data), os.ErrNotExist, "what is before it is missing")
	before := bytes.Repeat([]byte{9}, 1<<20)
	require.NoError(t, os.WriteFile(filepath.Join(folder, d.SegmentSize.FileName(3, 7)), before, 0o600))
	require.NoError(t, writeWAL(d, at, data))
	var all []byte
	for no := wal.SegmentNo(7); no <= 10; no++ {
		content, err := os.ReadFile(filepath.Join(folder, d.SegmentSize.FileName(3, no)))
		require.NoError(t, err)
		require.Len(t, content, 1<<20)
		all = append(all, content...)
	}
	want := append(append(append([]byte{}, before[:100]...), data...), make([]byte, 1<<20-100)...)
	require.True(t, bytes.Equal(want, all))
}
