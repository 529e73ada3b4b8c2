package walproposer

import "time"

const (
	restartFirst = 50 * time.Millisecond
	restartLast  = 10 * time.Second
	// oftenIs deaths within oftenWithin are reported with their cause.
	oftenIs     = 8
	oftenWithin = time.Minute
)

// restarts says when a child that died is started again. The zero value is
// ready.
type restarts struct {
	wait   time.Duration
	deaths []time.Time // within the last minute
}

// died takes a death after a life of lived, and returns the pause before the
// next start and whether it dies too often. Who lived for as long as the longest
// pause begins with the shortest again.
func (r *restarts) died(now time.Time, lived time.Duration) (pause time.Duration, often bool) {
	if lived >= restartLast || r.wait == 0 {
		r.wait = restartFirst
	}
	pause, r.wait = r.wait, min(2*r.wait, restartLast)
	r.deaths = append(r.deaths, now)
	r.prune(now)
	return pause, len(r.deaths) >= oftenIs
}

// often says whether there were too many deaths lately.
func (r *restarts) often(now time.Time) bool {
	r.prune(now)
	return len(r.deaths) >= oftenIs
}

func (r *restarts) prune(now time.Time) {
	for len(r.deaths) > 0 && now.Sub(r.deaths[0]) > oftenWithin {
		r.deaths = r.deaths[1:]
	}
}
