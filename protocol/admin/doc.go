// Package admin holds the commands that a walhaven program answers: the grammar
// of PostgreSQL's replication commands and of START_WAL_PUSH, and a table of
// administrative commands with names, arguments, columns and scope.
//
// Commands are parsed into values and rows are handed out as []any, so that
// psql's answer, the HTTP interface and the walhaven tool render the same
// thing. No I/O, no wire format (package protocol), no meaning of the
// replication commands (the programs).
package admin
