// Package replication holds the drivers of the consensus and the client side of
// connections: what moves WAL between programs.
//
//   - dial.go, query.go: connect as a client, ask, and turn a connection into a
//     stream;
//   - accepting.go and its siblings: the driver of one timeline's acceptor, which
//     executes effects of package replication/consensus in their order, disk
//     first, messages last;
//   - proposing.go and its siblings: the driver of a proposer.
//
// Decisions are not here but in replication/consensus; files are in
// wal/walstore; sending WAL out is replication/sender, taking it in as a client
// replication/receiver.
package replication
