package pagestore

import (
	"slices"

	"github.com/walhaven/walhaven/wal"
)

// retention says which entries some readable LSN needs. Readable are all LSNs
// from the cutoff on, and the points below it.
type retention struct {
	cutoff wal.LSN
	points []wal.LSN // pinned, below the cutoff, ascending
}

func (m *layerMap) retention() retention {
	r := retention{cutoff: m.cutoff}
	for i := range m.pins {
		if lsn := m.pins[i].LSN; lsn < m.cutoff {
			r.points = append(r.points, lsn)
		}
	}
	return r
}

// needs says whether an entry at lsn must stay, when base is the LSN of the
// nearest entry above it that makes what lies below irrelevant, 0 without one.
//
// The first readable point at or above lsn decides: if the base lies at or below
// that point, every readable LSN sees the base. Above the cutoff everything
// stays: each LSN there is readable, and so is the history of a key.
func (r *retention) needs(lsn, base wal.LSN) bool {
	if lsn > r.cutoff || base == 0 {
		return true
	}
	point := r.cutoff
	if i, _ := slices.BinarySearch(r.points, lsn); i < len(r.points) {
		point = r.points[i]
	}
	return base > point
}

// last returns the last readable LSN that sees an entry at lsn and not its base, 0
// without one.
func (r *retention) last(lsn, base wal.LSN) wal.LSN {
	if base > r.cutoff {
		return base - 1
	}
	i, _ := slices.BinarySearch(r.points, base)
	if i == 0 || r.points[i-1] < lsn {
		return 0
	}
	return r.points[i-1]
}
