// Package wal is the vocabulary that every other package shares: positions in
// the write-ahead log, PostgreSQL timelines, walhaven's own identifiers, and
// the arithmetic and names of WAL segments.
//
// It holds values and text forms only: no I/O, no clock, no record decoding
// (package wal/walrecord) and no files (package wal/walstore). Everything may
// import it; it imports the standard library alone.
package wal
