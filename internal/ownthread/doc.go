// Package ownthread has connections that are read by a system call that blocks,
// as a program without goroutines would.
//
// A goroutine that reads a socket with nothing in it is parked by Go's poller, its
// thread looks for other work, and the thread that polls for the whole process
// has to hand it over when something comes: two to three switches between threads
// where the kernel alone would do one, and the poller wakes as well for each
// connection that has room again. On the way of a commit, which passes five
// processes and back, that is most of what it costs.
//
// Take gives a connection to its user alone: the poller does not know of it any
// more. It keeps a thread for each goroutine that waits, hence a program says how
// many there may be (Allow), and gets as many more Ps, for whoever waits a short
// time keeps its own. Deadlines and Close work as with package net, but for one
// that is set while a read or write has just begun, which is noticed within 20 ms.
package ownthread
