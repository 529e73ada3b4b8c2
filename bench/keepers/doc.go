// Command keepers measures one safekeeper, each row beside what one would have
// instead, on one machine:
//
//	push      START_WAL_PUSH from a load generator, as fast as it is taken,
//	          beside writing as many bytes 16 MB at a time with an fdatasync each:
//	          into a new file each, and as fio --rw=write --bs=16M --fdatasync=1
//	receive   eight pg_receivewal that read the same WAL from a safekeeper, and from
//	          PostgreSQL: MB for each CPU-second of the server
//	waldump   walhaven waldump --stats beside pg_waldump --stats
//	timelines 1 to 1,000 timelines with a slow writer each: the safekeeper's CPU and
//	          memory, and how long a busy timeline's appends take
//
// Sides take turns, and ratios are taken within a round, so that drift of the
// machine cancels. It prints Markdown. What commits cost is bench/commits, what
// pages do bench/pages.
package main
