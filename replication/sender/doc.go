// Package sender gives WAL away: it serves START_REPLICATION to standbys, tools,
// peers and recovering proposers, and pushes committed WAL to pageservers.
//
// Where the WAL lies and how far it may be sent is a Source's business; slots
// and who may connect are the program's.
package sender
