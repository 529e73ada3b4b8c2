// Package monotonic keeps instants as numbers, for atomics, that steps of the wall
// clock do not move. What outlives the program, or is shown, is no matter of this
// package: it uses the wall clock.
package monotonic

import "time"

var start = time.Now()

// Now is the nanoseconds since the program started.
func Now() int64 { return int64(time.Since(start)) }

// At is t in the numbers of Now, to the nanosecond if t comes from time.Now; else
// a step of the clock since the program started shifts it.
func At(t time.Time) int64 { return int64(t.Sub(start)) }

// Since is the time that has passed since at.
func Since(at int64) time.Duration { return time.Duration(Now() - at) }

// Until is the time that has to pass until at.
func Until(at int64) time.Duration { return time.Duration(at - Now()) }
