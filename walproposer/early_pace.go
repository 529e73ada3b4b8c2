package walproposer

import "github.com/walhaven/walhaven/wal"

// maxLead is how much WAL that the stream has not brought is pushed at the most, but
// for what one read finds, and more than PostgreSQL flushes at once for commits, in
// bytes.
const maxLead = 256 << 10

// How the stream is judged by: WAL that was pushed early when the stream brings it
// counts for one, WAL that was not against as much as missCosts. Nothing left of the
// score, early push rests for so many messages, and after a trial that failed for twice
// as many as before, until one succeeds.
const (
	fullScore  = 16
	trialScore = 4
	missCosts  = 2
	restFor    = 128
	restLonger = 1024 // at the most
)

// pace says when WAL is pushed early. Commits have PostgreSQL flush often, little at a
// time, and somebody waits for each. In a bulk load it writes page by page, flushes
// once in many MiB, and nobody waits before the end: then WAL comes by the stream
// alone. Pushed as it is written each safekeeper would sync for every few pages, on
// disks that have the load to write, and all of it would be read, checked and
// compared for nothing. While WAL is on its way to the quorum nothing is pushed early
// either: with many writers each would go alone and cost each safekeeper a sync,
// though the answer to the first is nearer than theirs; what has gathered by then goes
// at once. Where PostgreSQL's flushes are over before that all the same, because many
// writers want the processors, early push only adds to the work: it rests and is tried
// again. The pace holds no clock: it goes by positions and messages.
type pace struct {
	flushed wal.LSN // by PostgreSQL, as far as it said
	bulk    bool    // until it flushes little at a time again
	score   int     // of late
	rest    int     // messages until it is tried again
	rested  int     // the same when it last began to rest; 0: it has been of use since
}

// rests says that all WAL is left to the stream for now.
func (p *pace) rests() bool { return p.bulk || p.rest > 0 }

// judge takes whether all that the stream brought had been pushed early.
func (p *pace) judge(early bool) {
	switch {
	case p.rest > 0:
		if p.rest--; p.rest == 0 {
			p.score = trialScore
		}
	case early:
		if p.score = min(p.score+1, fullScore); p.score == fullScore {
			p.rested = 0
		}
	default:
		if p.score -= missCosts; p.score <= 0 {
			p.rest = min(max(2*p.rested, restFor), restLonger)
			p.rested = p.rest
		}
	}
}

// hear takes the position up to which PostgreSQL has flushed.
func (p *pace) hear(flushed wal.LSN) {
	if flushed > p.flushed {
		p.bulk = flushed-p.flushed > maxLead
		p.flushed = flushed
	}
}

// mayPush says whether WAL from at on may be pushed early, when so many bytes before it
// have not come by the stream, and a quorum has what is below held. What is flushed the
// stream brings in a moment.
func (p *pace) mayPush(at, held wal.LSN, ahead int) bool {
	p.bulk = p.bulk || ahead >= maxLead
	return !p.rests() && at >= p.flushed && at <= held
}
