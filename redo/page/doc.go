// Package page is the layout of an 8 kB page of PostgreSQL 14 to 18: header,
// line pointers, where tuples are put, the special area, the checksum, and what
// of a page may differ between a server and its redo.
//
// The rules are those of src/backend/storage/page/bufpage.c, down to which byte
// a tuple begins at, so that a page that redo made equals the server's. Every
// function is meant for pages of unknown origin: none panics and none writes
// outside the page. Nothing here allocates or knows records; what a record does
// to a page is package redo's business.
package page
