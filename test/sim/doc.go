// Package sim runs proposers and acceptors of replication/consensus against a
// simulated network and simulated disks, one random schedule a seed, and checks
// the invariants of the design page after every step.
//
// A World is servers that write valid WAL, writers (a proposer with its driver),
// and nodes (an acceptor with its driver and log). Its steps deliver, delay,
// duplicate, reorder and lose messages, cut and heal links, crash nodes between
// any two effects, with unsynced bytes kept, torn or lost, fail their syncs and
// fill their disks, wipe nodes, let clocks jump, let several writers compete, let
// two operators change the membership at once, and let nodes learn from each
// other. Servers come back from a crash behind a record, or inside one and then
// with OVERWRITE_CONTRECORD, are cloned, promoted to another timeline, and restored
// from the quorum. A writer keeps little WAL in memory: who lacks more is fed from
// a donor. Logs are a model in memory, or the real wal/walstore on a crashable file
// system with the model beside it.
//
// What random steps alone take too seldom is a scene: a cast of writers and nodes
// that act out a course, while random steps go on in between.
//
// There is no clock and no goroutine of its own, and every choice comes from the
// seed, so that a failing schedule repeats; Shrink makes a smaller one of it.
// Protections that live in drivers can be broken by Config.Break, to show that the
// checks would notice; those inside the state machines have patches in
// test/mutants. The statements that are checked, and how often, are in the report
// of a run; docs/consensus.md says which function checks each.
package sim
