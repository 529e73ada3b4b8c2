// Package walcmd answers what every keeper of WAL answers alike, safekeeper and
// pageserver: IDENTIFY_SYSTEM, TIMELINE_HISTORY, the settings of SHOW,
// READ_REPLICATION_SLOT's shape, WAL_DIGEST, and how a session's options name a
// timeline.
//
// Answers are values (columns and rows), so that psql, HTTP and tests render
// the same ones. What differs between the programs, such as which position is
// the end, is handed in.
package walcmd
