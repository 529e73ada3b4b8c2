// Package ingest turns WAL into changes of keys: pages of relations, their sizes
// and existence, SLRUs, relation maps, prepared transactions, the control file,
// and the index of events. It knows PostgreSQL 14 to 18 and all of its built-in
// resource managers; where things lie is package pagekey's business, what a
// record does to a page package redo's.
//
// # How it runs
//
// An [Ingester] is fed consecutive WAL and puts what it makes of it into one
// timeline of package pagestore. Feed cuts the records into chunks. Chunks are
// taken apart by as many goroutines as there are processors, each of which
// turns whole records into entries; the caller's goroutine then finishes chunk
// after chunk in order: it decides what depends on what came before (sizes,
// counters, SLRU segments, dropped relations) and puts. So changes of a page are
// put in the order of WAL, and the oldest chunk that is not put always has a
// goroutine. Feed returns when everything was put and its goroutines are gone.
//
// # What a caller may rely on
//
//  1. Everything that the records up to Position did is readable at that LSN.
//  2. After a crash, [New] goes on where the timeline's durable state ends, and
//     nothing is lost or done twice: all that is needed to go on is under keys
//     of the timeline itself.
//  3. A record that cannot be understood stops the Ingester with an error that
//     names it. Records of an extension's resource manager are kept with their
//     pages, counted and logged once; reading such a page is an error until a
//     full image of it follows.
//
// # What is not exact
//
// The free space map is a hint throughout: its pages change by full images and
// truncation only. The next xid under [pagekey.Checkpoint] is rounded up. Memory
// of replication slots, statistics and unlogged relations are not in WAL.
package ingest
