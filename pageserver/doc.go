// Package pageserver is the program that takes committed WAL from safekeepers.
// This first part keeps it: it accepts START_WAL_PUSH in the role of a
// pageserver for any timeline, founds a local timeline from the first pusher's
// greeting, checks every record, compares an overlapping block with its own
// WAL, and answers with what is durable here.
//
// It is wiring: files and record checks are wal/walstore's, messages
// protocol/pushwal's and protocol/walstream's, sessions protocol's. Pages,
// layers and branches are not here yet.
package pageserver
