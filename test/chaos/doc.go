// Package chaos runs a whole walhaven, real processes around real PostgreSQL
// servers, on machines of its own, breaks machines, processes and links under a
// seed, and checks what clients saw: no acknowledged insert is missing, a register
// is linearizable, and commits go on when everything is whole again.
//
// # Machines
//
// Each safekeeper and each PostgreSQL server has a network namespace, connected by
// a router that drops packets by source and destination, so that a link can be cut
// in one direction. The test binary starts itself again inside a namespace that is
// the router, with mounts of its own, as root or as an ordinary user; nothing of
// the machine that it runs on is changed, and nothing is left. Where namespaces
// are not permitted, or with WALHAVEN_CHAOS_NETWORK=proxy, each link is a TCP proxy
// on loopback that holds back either direction. That is coarser: safekeepers reach
// each other by the links of the first PostgreSQL's machine, and packets are late
// and not lost. The test's log says which one is in use.
//
// # Clocks
//
// The clock of each machine can be stepped under what runs there, both ways:
// PostgreSQL gets it from a preloaded library, where there is a C compiler, and our
// programs, which do not ask libc, from a package time that is built for it. That
// takes a minute or two of building, so only runs whose length is set, as those of
// `make chaos`, have it. Time outs use the monotonic clock, which never jumps on a
// real machine either.
//
// # What cannot be done here
//
// Killed processes leave the page cache: losing power is the matter of
// test/powerloss and the simulator.
package chaos
