// Package pageserver is the program that takes committed WAL from safekeepers and
// serves pages of it at any LSN.
//
// It accepts START_WAL_PUSH in the role of a pageserver for any timeline, founds
// a local timeline from the first pusher's greeting, checks every record,
// compares an overlapping block with its own WAL, and answers with what is
// durable here. A timeline has pages from the moment that a base backup was
// imported (IMPORT) and committed WAL of the same history has passed the backup's
// end; from then on durable WAL is turned into pages as it comes, and page
// requests (pagestream) and SHOW PAGE and its siblings are answered. After a
// restart both go on where they were durable.
//
// It is wiring: files and record checks are wal/walstore's, messages
// protocol/pushwal's, protocol/walstream's and protocol/pagestream's, sessions
// protocol's, what WAL does ingest's, layers pagestore's, pages pageread's.
package pageserver
