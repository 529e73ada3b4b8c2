package safekeeper

import "github.com/walhaven/walhaven/internal/daemon"

// stages is what a safekeeper does with WAL, for /debug/commits.
var stages = []daemon.Stage{
	{Name: "write", Metric: "walhaven_safekeeper_append_write_seconds", From: "frame received - checked and written"},
	{Name: "sync", Metric: "walhaven_safekeeper_wal_sync_wait_seconds", From: "written - on disk, perhaps with others"},
	{Name: "fsync", Metric: "walhaven_safekeeper_wal_fsync_duration_seconds", From: "one fsync or fdatasync, of whatever file"},
	{Name: "answer", Metric: "walhaven_safekeeper_append_response_seconds", From: "written - acknowledgement handed to the kernel"},
}
