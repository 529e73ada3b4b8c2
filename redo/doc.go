// Package redo turns a page and a WAL record into the page after the record,
// for every built-in resource manager of PostgreSQL 14 to 18, a file each.
//
// [Apply] is a pure function. It restores page images, tests pd_lsn, changes
// the page as the server's own redo routine would, byte for byte outside the
// hole, and stamps pd_lsn. It neither allocates in the common case nor trusts
// anything: lengths in records and offsets in pages are checked, and no bytes
// make it panic or write outside the page.
//
// A record concerns the blocks that it references, and sometimes more: see
// [AppendVisibilityClears]. What happens to files, SLRUs and relation sizes is the
// caller's business (package ingest), as is the choice of which page to bring.
//
// Record formats are told apart by what a record holds; where that is not
// enough, by [walrecord.Record].Major.
package redo
