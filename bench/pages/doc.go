// Command pages measures what a pageserver does beside what a user of stock
// PostgreSQL would have instead, a streaming standby, on one machine.
//
// It makes a cluster as `walhaven up` does, with one safekeeper, and a standby's
// base backup beside it. Then, for pgbench's WAL and for that of loading tables,
// the pageserver and the standby are stopped while the WAL is written; in turns
// each is started on a copy of its data and takes all of it: the standby from
// the primary's walsender, the pageserver from the safekeeper's push. The standby
// has its turn before and after the pageserver; ratios are to the mean of the two,
// so that drift of the machine cancels, and their own ratio is the noise. What counts for
// the pageserver is durable layers, for the standby replay.
//
// Page requests go to the same pageserver process over loopback: pages that are
// in its cache, one at a time and pipelined on two connections, and pages that
// are not, with an image and ten records each, in the files' order at random. Files are in the
// kernel's cache. The same is measured on a database and history a tenth as large, in turns.
// The pageserver has merged what it merges before each workload, and before these.
//
// At the end the pageserver is given a window of seconds, and what its layers take
// when it has collected what lies before is put beside the size of the databases and
// the window's WAL.
//
// Redo is measured in this process, on one goroutine: records of the heap and of
// B-trees from the WAL that pgbench wrote, page by page as requests have it, on the pages that they
// change; decoded before, and as layers hold them.
//
// It prints one Markdown table: of each line what must be reached, where more is
// aimed at the goal, and whether they are. It exits with 0 whether or not they are.
package main
