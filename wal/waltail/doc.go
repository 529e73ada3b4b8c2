// Package waltail decides how far the bytes in a segment that PostgreSQL is just
// writing are its WAL. Such a file is longer than the WAL in it: behind lie zeros,
// the former life of a recycled segment, records that backends are copying into
// the page, and, while the write goes on, any mixture of a page's old and new
// bytes.
//
// A record counts when all of it is there, and everything in front of it: the
// page says that it belongs here, the record links back to the one before, its
// checksum is right, and where no checksum covers bytes they are zero, as
// PostgreSQL leaves them. PostgreSQL never changes such a record any more, and its
// own recovery after a crash of a process goes on behind it.
//
// What is behind a switch of segments (XLOG_SWITCH) up to the segment's end holds
// no record and so proves nothing: it never counts.
//
// The package holds no file and no clock. Reading segments, and whatever is
// done with their bytes, is the caller's.
package waltail
