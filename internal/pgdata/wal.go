package pgdata

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// start is where recovery would begin.
func (d *Directory) start() wal.LSN {
	if d.BackupStart != 0 {
		return d.BackupStart
	}
	return d.Redo
}

// scan finds the WAL that is here.
func (d *Directory) scan() error {
	d.Oldest, d.End = d.start(), d.start()
	if _, err := os.Stat(filepath.Join(d.Path, "pg_wal")); err != nil {
		return fmt.Errorf("read pg_wal: %w", err)
	}
	no := d.SegmentSize.SegmentNo(d.start())
	if d.segment(no) == "" {
		return nil
	}
	for no > 0 && d.segment(no-1) != "" {
		no--
	}
	d.Oldest = d.SegmentSize.Start(no)
	s := walrecord.NewScanner(walrecord.ScannerOptions{
		Start: d.start(), SegmentSize: d.SegmentSize, PGVersion: uint32(d.Major), SystemID: d.SystemID, TLI: 1, MaxTLI: d.TLI,
	})
	buf := make([]byte, 1<<20)
	for at := d.start(); ; {
		n, err := d.readAt(buf, at)
		if err != nil {
			return err
		}
		if n == 0 || s.Feed(at, buf[:n]) != nil {
			break // The end, or what is left of a write that a crash cut short.
		}
		at += wal.LSN(n)
	}
	d.End = max(d.End, s.RecordEnd())
	return nil
}

// segment is the path of the file that holds a segment: that of the newest
// timeline in this history, which has a copy of what came before its switch.
// "" = there is none.
func (d *Directory) segment(no wal.SegmentNo) string {
	tlis := []wal.TLI{d.History.Last}
	for _, a := range slices.Backward(d.History.Ancestors) {
		tlis = append(tlis, a.TLI)
	}
	for _, tli := range tlis {
		if begin, ok := d.History.Begin(tli); ok && begin >= d.SegmentSize.Start(no+1) {
			continue // A file of a timeline that did not exist there yet is a recycled one.
		}
		path := filepath.Join(d.Path, "pg_wal", d.SegmentSize.FileName(tli, no))
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

// ReadAt reads WAL in front of End.
func (d *Directory) ReadAt(p []byte, at wal.LSN) (int, error) {
	if at < d.Oldest || at >= d.End {
		return 0, fmt.Errorf("read pg_wal at %s: it has %s to %s", at, d.Oldest, d.End)
	}
	return d.readAt(p[:min(uint64(len(p)), uint64(d.End-at))], at)
}

// readAt reads from one segment; 0 bytes mean that it is not there.
func (d *Directory) readAt(p []byte, at wal.LSN) (int, error) {
	no := d.SegmentSize.SegmentNo(at)
	path := d.segment(no)
	if path == "" {
		return 0, nil
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read WAL: %w", err)
	}
	defer f.Close() //nolint:errcheck // Only read.
	n, err := f.ReadAt(p[:min(uint64(len(p)), uint64(d.SegmentSize.Start(no+1)-at))], int64(d.SegmentSize.Offset(at)))
	if n > 0 || errors.Is(err, io.EOF) {
		return n, nil
	}
	return 0, fmt.Errorf("read WAL %s: %w", filepath.Base(path), err)
}
