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
// With Options.InProcess all of it is goroutines. Else it is processes: the
// supervisor, which touches no WAL and maps no shared memory; the tap, which
// runs the sessions above; and a push worker for each safekeeper, which sends
// from the queue in shared memory and carries messages over a socket pair. Both
// forms run the same code behind two interfaces: crew, by which a session gets
// its queue and its workers, and director, by which a worker sees the proposer.
//
//   - run.go, session.go: sessions, one after the other, and one of them;
//   - tap.go, report.go: WAL from PostgreSQL into the queue, positions back;
//   - look.go, prove.go: before a vote is asked for;
//   - push.go and its siblings, link.go: a worker a safekeeper; spares.go: who may
//     get WAL later;
//   - supervisor.go, child.go, spawn.go, restarts.go, roster.go, samples.go: the
//     supervisor, what it says of its children and for them;
//   - process.go, control.go: a child, and what it and the supervisor say;
//   - crew_process.go, driver.go in the tap, worker.go, worker_director.go in the
//     worker, pairmsg.go, pairconn.go between them;
//   - checks.go: is PostgreSQL set up so that commits wait for us;
//   - found.go, sync.go: founding a timeline, and settling its end without a
//     server.
//
// Who may write and what is committed is decided in replication/consensus; the
// queue is package shmqueue; connections are package replication's.
package walproposer
