package replication

import (
	"sync"
	"time"

	"github.com/walhaven/walhaven/wal"
)

// markCount bounds how many positions are timed at once; beyond it samples are
// left out, oldest kept.
const markCount = 512

// Marks remembers when positions were passed first, to measure how long it took
// until something else passed them. It allocates nothing. The zero value is ready.
type Marks struct {
	mu    sync.Mutex
	ring  [markCount]mark
	first int
	n     int
}

type mark struct {
	lsn wal.LSN
	at  time.Time
}

// Add notes a position if it is above all that are noted.
func (m *Marks) Add(lsn wal.LSN, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.n == markCount || (m.n > 0 && m.ring[(m.first+m.n-1)%markCount].lsn >= lsn) {
		return
	}
	m.ring[(m.first+m.n)%markCount] = mark{lsn, at}
	m.n++
}

// Reach forgets positions up to lsn and calls observe with the time that each
// took.
func (m *Marks) Reach(lsn wal.LSN, now time.Time, observe func(time.Duration)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for ; m.n > 0 && m.ring[m.first].lsn <= lsn; m.n-- {
		observe(now.Sub(m.ring[m.first].at))
		m.first = (m.first + 1) % markCount
	}
}

// Oldest is the age of the oldest position noted, 0 when there is none.
func (m *Marks) Oldest() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.n == 0 {
		return 0
	}
	return time.Since(m.ring[m.first].at)
}
