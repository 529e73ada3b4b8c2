// Package operator is the walhaven tool as a library, a file an operation: it
// starts and stops a local cluster, reports on it, and fetches WAL back.
//
// It parses no command line (cmd/walhaven does) and holds no WAL, consensus or
// wire code of its own: servers are driven over their PostgreSQL connections
// and their read-only HTTP pages, like any user would.
package operator
