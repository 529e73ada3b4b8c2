// Package pgdata reads a stopped PostgreSQL data directory, 14 to 18, without a
// server: pg_control, backup_label, the timeline's history, a slot's state, and
// the WAL in pg_wal up to its last whole record. It writes nothing.
//
// Places in pg_control are named here, also for those who keep a copy of it up to date.
//
// What the findings mean for a start is judged elsewhere.
package pgdata
