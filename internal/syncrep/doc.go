// Package syncrep reads synchronous_standby_names as PostgreSQL does
// (src/backend/replication/syncrep_gram.y, syncrep_scanner.l and syncrep.c of 14 to
// 18), and judges for whom such a list makes commits wait.
//
// It asks no server: what the list is, and who is connected, callers know.
package syncrep
