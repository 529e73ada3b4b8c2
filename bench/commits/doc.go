// Command commits measures what a commit costs under walhaven and under what a
// user of stock PostgreSQL would have instead, on one machine:
//
//	A        PostgreSQL alone
//	B        one pg_receivewal --synchronous
//	C        ANY 2 of three pg_receivewal --synchronous
//	D-on     ANY 2 of three streaming standbys, synchronous_commit = on
//	walhaven two of three safekeepers, no pageserver, --no-early-push;
//	         walhaven-early with --early-push,
//	         walhaven-in-process and walhaven-in-process-early the same with --in-process,
//	         walhaven-disposable with --disposable-compute
//
// Only one system runs at a time. A round goes through all of them, and ratios
// are taken within a round, so that drift of the machine cancels; a system named
// twice (C C) shows the noise. It prints Markdown: commits a second, latency as
// pgbench logged it for each transaction, and CPU time of the walsenders and of
// what receives, for each transaction; and of each ratio that is asked for what was
// reached.
//
// Behind them comes a bulk load: one COPY that makes about a GB of WAL, in segments
// that are not there yet.
//
// Timings of single functions are Go benchmarks beside the code.
package main
