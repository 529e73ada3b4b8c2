// Package conninfo reads and writes libpq's connection strings as text, where
// what they say has to be changed or handed on rather than used. Connecting is
// pgconn's, which also knows the environment and the service file.
package conninfo
