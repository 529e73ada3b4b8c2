// Package invariant holds assertions and named fail points that exist only in
// builds with the tag invariants or the race detector.
//
// In every other build [Enabled] is the constant false, [Point] and [Assert]
// are empty functions that the compiler removes, and the environment is not
// read. Guard anything that costs more than a call:
//
//	if invariant.Enabled {
//		invariant.Assert(next >= commit, "commit LSN goes back")
//	}
//
// # Fail points
//
// A fail point names a moment at which a crash or an error is interesting: just
// before and just after each store, fsync, rename and send. Names are
// slash-separated paths, package first: "walstore/sync/before".
//
//	invariant.Point("walstore/sync/before")
//	if err := invariant.PointErr("walstore/sync"); err != nil { return err }
//
// A test hooks a point with [OnPoint] or [OnPointErr]. A real process takes
// them from the environment variable WALHAVEN_FAILPOINTS, a comma-separated
// list of name[@n]=action: the action happens at the n-th time that the point
// is passed in this process (counted from 1), or without @n each time. Actions:
//
//	kill   the process sends itself SIGKILL
//	stop   the process sends itself SIGSTOP
//	error  [PointErr] returns [ErrInjected]; [Point] ignores it
//
// A process that is killed or stopped says so on its standard error before, with
// point, pass and PID.
//
// A list that cannot be read ends the process with exit status 2, so that a
// crash test with a misspelt action never passes silently.
//
// What does not belong here: faults of files (pebble's errorfs and crashable
// file system do that) and anything a release build should do.
package invariant
