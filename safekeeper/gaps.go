package safekeeper

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/walhaven/walhaven/internal/datadir"
	"github.com/walhaven/walhaven/wal"
)

// gap is WAL that a pageserver lacks and that this safekeeper has removed all
// the same, because its disk was about to be full.
type gap struct {
	pageserver string // its address
	from, to   wal.LSN
	since      time.Time // when it began
}

// gapSet holds a timeline's gaps, at most one a pageserver. They are durable
// before the WAL goes, unless the disk is full already; then the pageserver's next
// session finds its gap.
type gapSet struct {
	mu   sync.Mutex
	gaps map[string]gap
	save func([]gap) error
}

const (
	gapsFile        = "walhaven.gaps"
	gapsFileVersion = "version 1"
)

func newGapSet(loaded []gap, save func([]gap) error) *gapSet {
	s := &gapSet{gaps: make(map[string]gap, len(loaded)), save: save}
	for _, g := range loaded {
		s.gaps[g.pageserver] = g
	}
	return s
}

// list returns the gaps by pageserver.
func (s *gapSet) list() []gap {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listLocked()
}

func (s *gapSet) listLocked() []gap {
	out := make([]gap, 0, len(s.gaps))
	for _, g := range s.gaps {
		out = append(out, g)
	}
	slices.SortFunc(out, func(a, b gap) int { return strings.Compare(a.pageserver, b.pageserver) })
	return out
}

// widen notes that a pageserver which has WAL up to from cannot get any below to
// from here. A gap that is known grows; began says that it is a new one. On an
// error it is known, and not durable.
func (s *gapSet) widen(pageserver string, from, to wal.LSN) (began bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, known := s.gaps[pageserver]
	switch {
	case from >= to:
		return false, nil
	case !known:
		g = gap{pageserver: pageserver, from: from, to: to, since: time.Now().UTC().Truncate(time.Second)}
	case from >= g.from && to <= g.to:
		return false, nil
	}
	g.from, g.to = min(g.from, from), max(g.to, to)
	s.gaps[pageserver] = g
	if err := s.save(s.listLocked()); err != nil {
		return !known, fmt.Errorf("persist gap of pageserver %s: %w", pageserver, err)
	}
	return !known, nil
}

// fill closes the gap of a pageserver that has WAL up to has, from wherever it
// got it, and says whether there was one.
func (s *gapSet) fill(pageserver string, has wal.LSN) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, known := s.gaps[pageserver]
	if !known || has < g.to {
		return false, nil
	}
	delete(s.gaps, pageserver)
	if err := s.save(s.listLocked()); err != nil {
		return true, fmt.Errorf("persist end of the gap of pageserver %s: %w", pageserver, err)
	}
	return true, nil
}

// size is how many bytes a pageserver lacks for good.
func (s *gapSet) size(pageserver string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.gaps[pageserver]
	return uint64(g.to - g.from)
}

// loadGaps reads the gaps of the timeline in dir; a missing file means that there
// are none.
func loadGaps(fs vfs.FS, dir string) ([]gap, error) {
	content, err := datadir.ReadSealed(fs, dir, gapsFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load gaps: %w", err)
	}
	out, err := parseGaps(content)
	if err != nil {
		return nil, fmt.Errorf("load gaps: %w", err)
	}
	return out, nil
}

// saveGaps returns the function that makes gaps durable in dir.
func saveGaps(fs vfs.FS, dir string) func([]gap) error {
	return func(gaps []gap) error { return datadir.WriteSealed(fs, dir, gapsFile, formatGaps(gaps)) }
}

func formatGaps(gaps []gap) string {
	var b strings.Builder
	b.WriteString(gapsFileVersion + "\n")
	for _, g := range gaps {
		fmt.Fprintf(&b, "gap %s %s %s %s\n", g.pageserver, g.from, g.to, g.since.Format(time.RFC3339))
	}
	return b.String()
}

func parseGaps(content string) ([]gap, error) {
	lines := strings.Split(strings.TrimSuffix(content, "\n"), "\n")
	if lines[0] != gapsFileVersion {
		return nil, fmt.Errorf("unknown format %q of %s", lines[0], gapsFile)
	}
	var out []gap
	for _, line := range lines[1:] {
		g, err := parseGap(line)
		if err != nil {
			return nil, fmt.Errorf("unexpected line %q in %s: %w", line, gapsFile, err)
		}
		out = append(out, g)
	}
	return out, nil
}

var errGapForm = errors.New("want gap, pageserver, two positions and a time")

func parseGap(line string) (g gap, err error) {
	f := strings.Fields(line)
	if len(f) != 5 || f[0] != "gap" {
		return g, errGapForm
	}
	g.pageserver = f[1]
	if g.from, err = wal.ParseLSN(f[2]); err != nil {
		return g, err
	}
	if g.to, err = wal.ParseLSN(f[3]); err != nil {
		return g, err
	}
	if g.from >= g.to {
		return g, errGapForm
	}
	g.since, err = time.Parse(time.RFC3339, f[4])
	return g, err
}
