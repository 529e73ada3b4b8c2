// Package pgdata reads a stopped PostgreSQL data directory, 14 to 18, without a
// server: pg_control, backup_label, the timeline's history, a slot's state, and
// the WAL in pg_wal up to its last whole record. It writes nothing.
//
// What the findings mean for a start is judged elsewhere.
package pgdata
