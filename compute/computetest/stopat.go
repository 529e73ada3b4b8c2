package computetest

import (
	"context"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/wal"
)

// stopPatience bounds a recovery.
const stopPatience = 10 * time.Minute

// StopAt has a stock server recover the base backup in dataDir and shut down at lsn, a
// record's end: every file then is as after the last record before it. settings say
// where WAL comes from (restore_command). A checkpoint's record must lie behind the
// backup's.
func StopAt(t testing.TB, install compute.Install, dataDir string, lsn wal.LSN, settings map[string]string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
	defer cancel()
	all := maps.Clone(settings)
	maps.Copy(all, map[string]string{
		"hot_standby": "off", "recovery_target_lsn": lsn.String(), "recovery_target_inclusive": "off", "recovery_target_action": "shutdown",
		// The restartpoint of the shutdown is what writes all. There is none when one of its own
		// is under way or was made behind the same checkpoint: pages that were changed after it
		// had passed them would stay in memory.
		"checkpoint_timeout": "1d", "max_wal_size": "1TB", "log_checkpoints": "on",
	})
	server := Open(t, install, dataDir, all)
	if err := server.WriteFile("recovery.signal", nil); err != nil {
		t.Fatalf("begin recovery: %v", err)
	}
	started := server.Start(ctx, compute.StartOptions{}) // It ends by itself, maybe before it is up.
	select {
	case <-server.Done():
	case <-ctx.Done():
		t.Fatalf("the server does not reach %s: %v", lsn, started)
	}
	log, err := os.ReadFile(server.LogFile())
	if err != nil {
		t.Fatalf("read its log: %v", err)
	}
	_, after, stopped := strings.Cut(string(log), "recovery stopping before WAL location")
	if !stopped || !strings.Contains(after, "restartpoint starting: shutdown") || strings.Contains(string(log), "ready to accept connections") {
		t.Fatalf("the server did not stop at %s with all on its disk (start: %v)", lsn, started)
	}
}
