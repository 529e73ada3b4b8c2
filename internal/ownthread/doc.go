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
// more. It keeps a thread and a P for a goroutine that waits, hence a program says
// how many there may be (Allow) and gets as many more Ps; one to which nothing
// comes for a while costs a thread that sleeps. Deadlines and Close work as with
// package net, but for a deadline that is set in the middle of a call, which is
// noticed within 20 ms.
package ownthread
