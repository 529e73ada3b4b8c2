// Package pagekey is how a PostgreSQL cluster lies in package pagestore: which
// key each thing has, what its values look like, and how an image and the
// changes after it become a page.
//
// ingest writes these keys, pageread and backup read them. Nothing here does
// I/O; a value is bytes of unknown origin and never makes a panic.
//
// # Keys
//
// Each thing has a key of its own, and a directory is a scan: no value lists
// others. Numbers are big-endian, so that what belongs together is adjacent:
//
//	class           1..3     4..7        8..11     12..15    16..19  20..23  value
//	1 database      0        tablespace  database  0         0       0       empty
//	2 relation      0        tablespace  database  relation  fork    0       blocks, u32
//	3 block         0        tablespace  database  relation  fork    block   page
//	4 SLRU segment  SLRU     0           0         segment   0       0       pages, u32
//	5 SLRU page     SLRU     0           0         segment   0       page    page
//	6 two-phase     0        0           0         xid       0       0       state file without its CRC
//	7 special       kind     tablespace  database  number    0       0       see Special
//	8 event         kind     LSN (8)               0         0       0       see package ingest
//
// A relation's fork exists if and only if its key of class 2 does. A block below
// its size without a value is a page of zeroes, as a hole in a file is.
//
// # Values
//
// Values of pages are images (AppendPage) or changes (AppendRecord and its
// siblings); [Replayer] makes pages of them. Numbers in values are
// little-endian, as PostgreSQL writes them. Formats: docs/format/pages.md.
package pagekey
