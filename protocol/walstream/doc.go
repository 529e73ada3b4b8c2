// Package walstream is what travels inside a START_REPLICATION stream: XLogData
// and keepalives from the server, status updates and feedback from the client,
// each the payload of one CopyData.
//
// It holds codecs only, none of which allocates. The stream itself is package
// protocol's CopyStream; package replication/sender serves it and package
// replication/receiver consumes it.
//
// Layouts follow src/backend/replication/walsender.c and
// libs/utils/src/pageserver_feedback.rs of github.com/neondatabase/neon.
package walstream
