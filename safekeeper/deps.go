package safekeeper

import (
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/walhaven/walhaven/internal/datadir"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal/walstore"
)

// bulkLoad is in how short a time an eighth of a segment comes in a bulk load: 40 MB/s of
// the default size.
const bulkLoad = 50 * time.Millisecond

// deps is what every timeline of one safekeeper shares.
type deps struct {
	identity    datadir.Identity
	logger      *slog.Logger
	wal         *walstore.Metrics
	accepting   *replication.AcceptingMetrics
	pageservers []string // addresses that every timeline is pushed to
	noSync      bool     // negative control of durability tests
	fs          vfs.FS   // of WAL and control files; nil: the operating system's
}

func (d deps) storeOptions() walstore.Options {
	return walstore.Options{Logger: d.logger, Metrics: d.wal, NoSync: d.noSync, FS: d.fs, AllocateWithin: bulkLoad}
}
