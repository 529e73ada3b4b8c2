// Package safekeeper is the program that accepts WAL from an elected proposer,
// keeps it on disk, and gives back what is committed: one process, many
// timelines.
//
// It is wiring: what to vote and to accept is decided in
// replication/consensus, executed by replication.Accepting, stored by
// wal/walstore, sent by replication/sender, and spoken by protocol. What lives
// here is the registry of timelines, the table of commands, replication slots,
// retention, the pushes to pageservers and the watch on peers, and the order
// in which all of that starts and ends (run.go).
//
// What a timeline directory <data>/<tenant>/<timeline> holds, beside the files
// of walstore: walhaven.slots, the persistent replication slots.
package safekeeper
