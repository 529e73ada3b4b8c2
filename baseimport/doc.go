// Package baseimport makes a timeline's first pages of a base backup: it reads
// the tar archives that BASE_BACKUP sends, one a tablespace, and puts relations,
// SLRUs, relation maps, prepared transactions, replication origins and the
// control file under their keys.
//
// Blocks of a base backup are fuzzy: they were read while the server wrote. They
// become right as WAL from the backup's start on is replayed, for redo leaves
// alone what a page has already and images replace what is torn; sizes follow
// from WAL too. So nothing may be read below the backup's end, and everything is
// put below its start.
//
// WAL in a backup is ignored: what is committed is for a quorum to say. Whether
// and when an import becomes visible is the pageserver's business. Nothing here
// trusts an archive: names, sizes and checksums are looked at before use.
package baseimport
