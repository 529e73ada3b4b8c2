// Package headless settles where a timeline's WAL ends when nobody writes it: a
// proposer without a server wins a term, brings a majority to the best voter's
// position, and commits it there. What an old writer got acknowledged, and died
// before it could say so, is committed afterwards for everyone.
//
// Safekeepers run it when their writer is gone, `walproposer sync` and
// `walhaven wal get` when they are asked where WAL ends. It writes nothing of its
// own, and ends as soon as it meets a term that was not there when it looked.
// Whether it may run at all, since a writer must not be deposed, is the caller's
// to decide from View.
package headless
