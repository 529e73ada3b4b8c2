package walproposer

import "github.com/walhaven/walhaven/wal"

// maxLead is how much WAL that the stream has not brought is pushed at the most, but
// for what one read finds, and more than PostgreSQL flushes at once for commits, in
// bytes.
const maxLead = 256 << 10

// pace says when WAL is pushed early. Commits have PostgreSQL flush often, little at a
// time, and somebody waits for each. In a bulk load it writes page by page, flushes
// once in many MiB, and nobody waits before the end: then WAL comes by the stream
// alone. Pushed as it is written each safekeeper would sync for every few pages, on
// disks that have the load to write, and all of it would be read, checked and
// compared for nothing. The pace holds no clock: it goes by positions.
type pace struct {
	flushed wal.LSN // by PostgreSQL, as far as it said
	bulk    bool    // until it flushes little at a time again
}

// hear takes the position up to which PostgreSQL has flushed.
func (p *pace) hear(flushed wal.LSN) {
	if flushed > p.flushed {
		p.bulk = flushed-p.flushed > maxLead
		p.flushed = flushed
	}
}

// mayPush says whether WAL from at on may be pushed early, when so many bytes before it
// have not come by the stream. What is flushed that brings in a moment.
func (p *pace) mayPush(at wal.LSN, ahead int) bool {
	p.bulk = p.bulk || ahead >= maxLead
	return !p.bulk && at >= p.flushed
}
