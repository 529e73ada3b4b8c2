package pageserver

import "runtime"

// maxFlushWriters is how many layer files one flush writes at a time.
const maxFlushWriters = 4

// background is how many goroutines of a pageserver compute for long without a
// pause on so many processors: those that write layers, and the one that merges
// them.
func background(processors int) int { return min(processors, maxFlushWriters) + 1 }

// spare lets the runtime run more goroutines at a time than there are processors,
// by as many as compute in the background, and returns how many processors there
// are. Without it, who asks for a page while all are busy waits until the runtime
// looks at the network again, which it does every 10 ms; so the system shares the
// processors out, and lets a thread that has waited go first.
func spare() (processors int) {
	processors = runtime.GOMAXPROCS(0)
	runtime.GOMAXPROCS(processors + background(processors))
	return processors
}
