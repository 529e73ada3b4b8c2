// Package walrecord reads PostgreSQL's write-ahead log, versions 14 to 18:
// pages, records that cross them, and what a record says of blocks.
//
// It works on bytes that the caller brings and keeps no file, clock, lock or
// goroutine. Three levels build on each other:
//
//   - [Scanner] is fed consecutive WAL and proves it well-formed: page headers,
//     record headers, back links and checksums. It knows where the last whole
//     record ends and copies nothing.
//   - [Reader] is a Scanner that also hands out each whole record's bytes.
//   - [Decode] takes a record apart into block references, images and main
//     data; [Identify], [Describe] and [Stats] present it as pg_waldump does.
//
// Every parser here is meant for bytes of unknown origin: lengths are bounded
// before they are used and no input panics. What a record does to a page is
// package redo's business; segments on disk are package walstore's.
//
// The rules are those of src/backend/access/transam/xlogreader.c, made stricter
// where a live stream allows it: a back link must name the preceding record,
// and a flag that PostgreSQL never writes is refused.
package walrecord
