package pagestore

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/wal"
)

const (
	indexPrefix = "index-"
	indexTemp   = "index.tmp"
	layerSuffix = ".layer"
)

func indexName(sequence uint64) string { return fmt.Sprintf("%s%016x", indexPrefix, sequence) }

func layerName(l *layerInfo) string {
	return fmt.Sprintf("%016x-%08x%s", l.Number, l.Generation, layerSuffix)
}

// parseIndexName reads the sequence of an index's file name.
func parseIndexName(name string) (sequence uint64, ok bool) {
	digits, ok := strings.CutPrefix(name, indexPrefix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 16, 64)
	return n, err == nil
}

// parseLayerName reads number and generation of a layer's file name.
func parseLayerName(name string) (l layerInfo, ok bool) {
	digits, ok := strings.CutSuffix(name, layerSuffix)
	if !ok || len(digits) != 25 || digits[16] != '-' {
		return l, false
	}
	n, err1 := strconv.ParseUint(digits[:16], 16, 64)
	g, err2 := strconv.ParseUint(digits[17:], 16, 32)
	return layerInfo{Number: n, Generation: uint32(g)}, err1 == nil && err2 == nil
}

// newestIndex is the highest sequence among names, 0 without one.
func newestIndex(names []string) (newest uint64) {
	for _, name := range names {
		if n, ok := parseIndexName(name); ok {
			newest = max(newest, n)
		}
	}
	return newest
}

// loadIndex reads the newest index in dir. A damaged one is an error, never a
// reason to go back to an older one, whose files may be gone.
func (d *disk) loadIndex(dir string, id wal.TimelineID) (*index, error) {
	names, err := d.List(dir)
	if err != nil {
		return nil, fmt.Errorf("list folder of timeline %s: %w", id, err)
	}
	sequence := newestIndex(names)
	if sequence == 0 {
		return nil, &CorruptionError{Timeline: id, File: indexName(1), Offset: -1, Err: errors.New("no index in the folder")}
	}
	return d.readIndex(dir, id, sequence)
}

func (d *disk) readIndex(dir string, id wal.TimelineID, sequence uint64) (*index, error) {
	name := indexName(sequence)
	content, err := d.readFile(d.PathJoin(dir, name), maxIndexSize)
	if err != nil {
		return nil, fmt.Errorf("read index %s of timeline %s: %w", name, id, err)
	}
	x, offset, err := decodeIndex(content)
	switch {
	case errors.Is(err, ErrNewerVersion):
		return nil, fmt.Errorf("timeline %s: %w", id, err)
	case err != nil:
		return nil, &CorruptionError{Timeline: id, File: name, Offset: offset, Err: err}
	case x.Timeline != id || x.Sequence != sequence:
		return nil, &CorruptionError{Timeline: id, File: name, Offset: indexHeader, Err: fmt.Errorf("belongs to timeline %s, number %d", x.Timeline, x.Sequence)}
	}
	return x, nil
}

// publishIndex makes x the newest index of dir, durably. It fails with ErrFenced
// when another writer took its number; with unsure set when a crash may bring
// back either.
//
// The link fails if the number exists: that is the conditional write. A number
// can be free although newer ones exist, because old indexes are removed; so
// the folder is looked at once more.
func (d *disk) publishIndex(dir string, x *index) (unsure bool, err error) {
	start := time.Now()
	content, err := encodeIndex(x)
	if err != nil {
		return false, err
	}
	temp, name := d.PathJoin(dir, fmt.Sprintf("%08x.%s", x.Generation, indexTemp)), d.PathJoin(dir, indexName(x.Sequence))
	if err := d.writeFile(temp, content); err != nil {
		return false, fmt.Errorf("write index: %w", err)
	}
	if err := invariant.PointErr(pointIndexLink); err != nil {
		return false, fmt.Errorf("link index: %w", err)
	}
	if err := d.Link(temp, name); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return true, fmt.Errorf("index %d exists: %w", x.Sequence, ErrFenced)
		}
		return true, fmt.Errorf("link index: %w", err)
	}
	if err := d.syncFolder(dir); err != nil {
		return true, fmt.Errorf("make name of index durable: %w", err)
	}
	names, err := d.List(dir)
	if err != nil {
		return true, fmt.Errorf("list folder: %w", err)
	}
	if newest := newestIndex(names); newest > x.Sequence {
		return true, fmt.Errorf("index %d is newer than %d: %w", newest, x.Sequence, ErrFenced)
	}
	d.m.publish.Observe(time.Since(start).Seconds())
	d.removeOldIndexes(dir, x.Sequence, names)
	return false, nil
}

// removeOldIndexes removes what a new index has replaced, and temporary files.
// A crash may leave them; the next publication removes them.
func (d *disk) removeOldIndexes(dir string, newest uint64, names []string) {
	for _, name := range names {
		sequence, isIndex := parseIndexName(name)
		if !isIndex && !strings.HasSuffix(name, "."+indexTemp) || isIndex && sequence >= newest {
			continue
		}
		if err := d.remove(d.PathJoin(dir, name), pointIndexRemove); err != nil {
			return // Garbage that stays is no failure of the publication.
		}
	}
}
