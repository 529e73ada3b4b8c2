// Package seqpacket carries whole messages, and descriptors beside them,
// between processes of one program over a pair of connected sockets
// (SOCK_SEQPACKET). A message arrives as it was sent or not at all, and the end
// of either process is an end of file at the other.
//
// Both sides use Go's poller, so a goroutine that waits holds no thread, and
// deadlines work. What the messages mean is the caller's.
package seqpacket
