// Package pagestore keeps every version of every value: bytes under a key and
// an LSN, in memory first, then in immutable layer files. It knows keys, LSNs
// and bytes, not PostgreSQL: what a key names is the business of its callers,
// and so is turning an image and the records after it into a page (redo).
//
// # Model
//
// A [Store] is a folder of timelines. A [Timeline] takes [Batch]es in LSN order
// and answers, for a key and an LSN, the newest image at or below the LSN and
// the deltas after it ([Timeline.Get]), and the same for a range of keys
// ([Timeline.Scan]). Four kinds of entries live under a key:
//
//	Image      the whole value
//	Delta      a record that changes the value below it
//	InitDelta  a record that makes the value, whatever was below it
//	Tombstone  from here on the key does not exist
//
// and one covers a range of keys: Drop, a tombstone for each key of the range.
// A Drop at an LSN hides what lies below that LSN; entries of the same LSN
// stand, so a record may drop a range and fill it again.
//
// # Keys
//
// A [Key] is 24 bytes, ordered bytewise. What belongs together must be adjacent,
// and nothing may need a value that lists others: a Scan of the keys that say
// "exists" is the directory. The layout meant for PostgreSQL, big-endian:
//
//	byte  0       class: 1 database, 2 relation fork's size, 3 block, 4 SLRU
//	              segment's size, 5 SLRU page, 6 two-phase file, 7 special file
//	byte  1..3    kind within the class (SLRU kind), zero otherwise
//	byte  4..7    tablespace, or the high half of a 64-bit number (xid)
//	byte  8..11   database, or its low half
//	byte 12..15   relation number, or SLRU segment
//	byte 16..19   fork
//	byte 20..23   block
//
// so that the relations of a database are one Scan of class 2, dropping one is
// a Tombstone on its size and a Drop over its blocks, dropping a database two
// Drops, and truncating a relation one Drop. The all-ones key is reserved.
//
// # What a caller may rely on
//
//  1. [Timeline.FlushedLSN] never lies: everything put at or below it is in
//     layer files that were fsynced and in an index that was fsynced and named
//     durably. After a crash, put again from there.
//  2. The index on disk is the old one or the new one. It is numbered and made
//     by a link that fails if the number exists, so that of two writers one
//     loses: it is fenced ([ErrFenced]) and never reports success. A writer with
//     a lower generation than the stored one is refused at Open.
//  3. An answer is exactly what was put, or an error with its place
//     ([CorruptionError]): every block of every file has a checksum.
//  4. What a pin ([Timeline.Pin], branches) names stays readable. Pins and the
//     cutoff of garbage collection are in the index before they count.
//  5. Memory for puts is bounded: a full store makes [Timeline.Put] wait for
//     the flush, until its context ends.
//
// # How it is built
//
// Puts go to an in-memory layer; a full one is frozen and flushed as a run: a
// set of layer files (Pebble's sstable format) with disjoint keys and one range
// of LSNs. Compaction merges neighbouring runs and drops what no readable LSN
// needs; the index knows how much of a run that is at which cutoff, so that one to
// which nothing new comes is written anew when a third of it is garbage. A key
// whose chain of deltas grows long gets images, in memory when it is put and in
// compaction, by a function that the caller supplies: a read at any LSN goes
// through few of them. The layer map is an immutable snapshot with a reference
// count: one writer replaces it, readers keep theirs, and the last one deletes the
// files of replaced runs. A branch reads its own layers, then its parent's up to
// the branch LSN: creating one copies nothing.
//
// [Open] starts nothing. [Store.Run] owns the goroutines that flush and compact
// in the background; without it Put flushes by itself.
//
// One process has the folder open; the owner of the data directory sees to that
// with a lock. All I/O goes through pebble's vfs.FS. Formats: docs/format/layer.md
// and docs/format/index.md.
package pagestore
