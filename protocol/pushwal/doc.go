// Package pushwal is the START_WAL_PUSH protocol: the messages that a proposer
// and an acceptor exchange inside a CopyBoth stream, in versions 2 and 3 of
// Neon's wire form, and the options walhaven adds behind them when both sides
// asked for it.
//
// It holds message types and codecs only. Who may vote for whom is decided in
// package replication/consensus, the frames around the messages are package
// protocol's, and the status updates of START_REPLICATION are package
// protocol/walstream's.
//
// Layouts follow safekeeper/src/safekeeper.rs and pgxn/neon/walproposer.c of
// github.com/neondatabase/neon.
package pushwal
