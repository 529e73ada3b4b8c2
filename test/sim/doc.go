// Package sim runs proposers and acceptors of replication/consensus against a
// simulated network and simulated disks, one random schedule a seed, and checks
// the invariants of the design page after every step.
//
// A World is servers that write valid WAL, writers (a proposer with its driver),
// and nodes (an acceptor with its driver and log). Its steps deliver, delay,
// duplicate, reorder and lose messages, cut and heal links, crash nodes between
// any two effects, with unsynced bytes kept, torn or lost, wipe nodes, promote
// and restore servers, let several writers compete, and let nodes learn from each
// other. Logs are a model in memory, or the real wal/walstore on a crashable file
// system with the model beside it.
//
// There is no clock and no goroutine of its own, and every choice comes from the
// seed, so that a failing schedule repeats; Shrink makes a smaller one of it. Protections that live in drivers can
// be broken by Config.Break, to show that the checks would notice; those inside
// the state machines have patches in test/mutants.
package sim
