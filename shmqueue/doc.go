// Package shmqueue is the queue between the process that reads WAL from its
// origin and those that send it on: a window over the WAL, addressed by LSN.
// The byte at LSN x lives at x modulo the size of the ring.
//
// One producer writes, several consumers read, and no lock lies between them:
// every shared word has one writer. The producer publishes a head (the first
// LSN not yet written) and a floor (the oldest LSN that is still intact, raised
// before anything below it is overwritten). Beside the bytes stand descriptors
// of 8 KiB blocks, with the CRC-32C that the producer made of the bytes as it
// took them from the network. A consumer sends that checksum with the bytes, so
// whatever happens to them in between is noticed by who receives them.
//
// A consumer may use the bytes in place while its slot's pin covers them; a
// pinned range is never overwritten. The producer waits for space as long as
// bytes above the released position (what a quorum holds) would be lost, and
// for nothing else: a consumer that falls behind that is cut loose and gets
// ErrBehindFloor, and if it still holds a pin its slot is revoked first.
//
// Local is the queue for the goroutines of one process, Shared the one between
// processes: the same window in a sealed memfd that others map to read, with a
// page of its own for each consumer's pin. Code that sends works on Producer and
// Consumer and does not know which it has. What lies where, and what each crash
// does, is in docs/shared-memory-queue.md. What the bytes mean, who counts as a
// quorum, and where laggards are fed from is not known here.
package shmqueue
