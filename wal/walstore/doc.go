// Package walstore keeps the WAL of one timeline on disk: PostgreSQL's own
// segment files, a control file beside them, and the rules by which a byte may
// be called durable.
//
// # Files of a timeline's folder
//
//	walhaven.control          identity, history, watermark, consensus state
//	000000010000000000000003  complete segment, as PostgreSQL names it
//	000000010000000000000004.partial  open segment, zero behind the last byte
//	00000002.history          ancestry of a PostgreSQL timeline
//	walhaven.prepared         next segment, zeroed ahead of its use
//	walhaven.fenced           mark: a write or fsync failed, recover first
//
// # What a caller may rely on
//
//  1. When [Store.Sync] returns nil, every byte that [Store.Append] had taken
//     before the call began survives a crash, and so does the name of its file.
//     Callers share one fdatasync.
//  2. When [Store.SaveControl] returns nil, the control file on disk is the new
//     one; whatever happens, it is the old or the new one, never a mixture.
//  3. After [Open], positions end at the last whole record, and everything up
//     to there is on disk: what lay above the watermark was read, checked record
//     by record, and written into a fresh file that was fsynced, because after a
//     crash or a failed fsync the page cache may show bytes that the disk never
//     got. What is left of a record that a crash of the server cut short has no
//     checksum, so it is synced before the page behind it is written.
//  4. After a failed write or fsync the store is fenced: appends, syncs,
//     truncations and control-file writes return [ErrFenced] until the next Open
//     has recovered. A full disk does not fence: [ErrDiskFull] may be tried
//     again.
//  5. [Store.Truncate] returns when the cut is on disk; the caller persists the
//     history that asked for it afterwards.
//
// # What the package assumes
//
// One process has the folder open; the owner of the data directory sees to that
// with a lock. A rename is atomic. A write of zeroes over a fully allocated file
// needs no further space, except on copy-on-write file systems, where the sync
// may report a full disk.
//
// The package knows no consensus (the state is an opaque slice) and no network.
// All I/O goes through pebble's vfs.FS, so that crashes and faults are tests.
package walstore
