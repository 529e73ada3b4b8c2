// Package walproposer is the program that stands beside PostgreSQL: it is the
// one synchronous standby, pushes the WAL to the safekeepers, and reports to
// PostgreSQL what a quorum of them has on disk.
//
// The life of one connection to PostgreSQL (a session) is: identify the server;
// look at a majority of the safekeepers without touching a term; prove that the
// server's WAL continues theirs, byte for byte; campaign; stream. A lost
// connection means a new session, a new proof and a new term, because within
// one term all bytes come from one unbroken connection.
//
//   - run.go: the supervisor, which starts sessions and judges their ends;
//   - session.go: one session;
//   - tap.go, report.go: WAL from PostgreSQL into the queue, positions back;
//   - look.go, prove.go: before a vote is asked for;
//   - push.go and its siblings: a worker a safekeeper;
//   - checks.go: is PostgreSQL set up so that commits wait for us;
//   - found.go, sync.go: founding a timeline, and settling its end without a
//     server.
//
// Who may write and what is committed is decided in replication/consensus; the
// queue is package shmqueue; connections are package replication's.
package walproposer
