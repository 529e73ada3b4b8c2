package walstore

import (
	"cmp"
	"slices"
	"strings"

	"github.com/walhaven/walhaven/wal"
)

// Names of files in a timeline's folder, besides segments and histories.
const (
	partialSuffix = ".partial"
	rewriteSuffix = ".rewrite" // fresh copy before it replaces its original
	tmpSuffix     = ".tmp"
	historySuffix = ".history"
	preparedName  = "walhaven.prepared"
	fencedName    = "walhaven.fenced"
)

// segmentKey names a segment file. Keys are ordered by segment, then TLI.
type segmentKey struct {
	no  wal.SegmentNo
	tli wal.TLI
}

func (k segmentKey) compare(o segmentKey) int {
	return cmp.Or(cmp.Compare(k.no, o.no), cmp.Compare(k.tli, o.tli))
}

// segment is a file on disk.
type segment struct {
	segmentKey
	partial bool // its name ends in .partial
}

func (g segment) name(size wal.SegmentSize) string {
	if g.partial {
		return size.FileName(g.tli, g.no) + partialSuffix
	}
	return size.FileName(g.tli, g.no)
}

// parseSegment reads the name of a segment file.
func parseSegment(size wal.SegmentSize, name string) (segment, bool) {
	base, partial := strings.CutSuffix(name, partialSuffix)
	tli, no, err := size.ParseFileName(base)
	return segment{segmentKey: segmentKey{no: no, tli: tli}, partial: partial}, err == nil
}

// segmentList is the sorted list of files. Values are immutable: a change makes
// a new list, so that readers go on with the one that they loaded.
type segmentList []segment

func (l segmentList) find(k segmentKey) (segment, bool) {
	i, ok := slices.BinarySearchFunc(l, k, func(g segment, k segmentKey) int { return g.compare(k) })
	if !ok {
		return segment{}, false
	}
	return l[i], true
}

// with returns the list with g added, replacing a segment of the same key.
func (l segmentList) with(g segment) segmentList {
	n := slices.Clone(l)
	i, ok := slices.BinarySearchFunc(n, g.segmentKey, func(g segment, k segmentKey) int { return g.compare(k) })
	if ok {
		n[i] = g
		return n
	}
	return slices.Insert(n, i, g)
}

// without returns the list without k.
func (l segmentList) without(k segmentKey) segmentList {
	return slices.DeleteFunc(slices.Clone(l), func(g segment) bool { return g.segmentKey == k })
}

// holder returns the file that holds the byte at l: the one of the TLI that the
// history gives, or a later one that began with a copy of it.
func (l segmentList) holder(size wal.SegmentSize, h wal.TimelineHistory, at wal.LSN) (segment, bool) {
	no, tli := size.SegmentNo(at), h.TLIAt(at)
	if g, ok := l.find(segmentKey{no: no, tli: tli}); ok {
		return g, true
	}
	for {
		_, next, ok := h.SwitchPoint(tli)
		if !ok {
			return segment{}, false
		}
		begin, _ := h.Begin(next)
		if size.SegmentNo(begin) != no {
			return segment{}, false
		}
		if g, ok := l.find(segmentKey{no: no, tli: next}); ok {
			return g, true
		}
		tli = next
	}
}

// onPath says whether a file of this key can hold bytes of the history below
// end: its TLI is part of it and reaches into the segment.
func onPath(size wal.SegmentSize, h wal.TimelineHistory, k segmentKey, end wal.LSN) bool {
	begin, ok := h.Begin(k.tli)
	if !ok {
		return false
	}
	if stop, _, ok := h.SwitchPoint(k.tli); ok && stop < end {
		end = stop
	}
	start := size.Start(k.no)
	return start < end && begin < start+wal.LSN(size)
}

// agree says whether both histories give every byte below to the same TLI.
func agree(a, b wal.TimelineHistory, to wal.LSN) bool {
	if to == 0 {
		return true
	}
	tli := a.TLIAt(to - 1)
	if b.TLIAt(to-1) != tli {
		return false
	}
	ha, _ := a.Upto(tli)
	hb, _ := b.Upto(tli)
	return ha.Equal(hb)
}
