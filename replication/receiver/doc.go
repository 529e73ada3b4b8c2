// Package receiver takes WAL in as a client of START_REPLICATION: from a
// PostgreSQL server (the tap), from a peer that holds what a laggard lacks, or
// from a safekeeper to a pageserver that pulls.
//
// It yields runs of WAL and reports positions; what is done with the WAL is the
// caller's business.
package receiver
