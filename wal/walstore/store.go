package walstore

import (
	"context"
	"log/slog"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/walhaven/walhaven/wal"
)

// Options of a store; the zero value works.
type Options struct {
	FS      vfs.FS       // nil: vfs.Default
	Logger  *slog.Logger // nil: nothing is logged
	Metrics *Metrics     // nil: nothing is counted
	// NoSync skips every fsync. Nothing is durable then: it exists as the
	// negative control of crash tests.
	NoSync bool
}

// Positions of a store. Flush <= Write and FlushRecord <= WriteRecord.
//
// The record positions are ends of whole records, 8-aligned; after an
// XLOG_SWITCH the end is the next segment's start, so that WriteRecord may run
// ahead of Write until the padding has arrived. While the bytes in front of
// Control.Start are incomplete, all positions lie below Start.
type Positions struct {
	Write       wal.LSN // end of the bytes given to the operating system
	WriteRecord wal.LSN // end of the last whole record written
	Flush       wal.LSN // end of the bytes on disk
	FlushRecord wal.LSN // end of the last whole record on disk
}

// Digest is the SHA-256 of a run of WAL bytes.
type Digest struct {
	Range  wal.Range
	SHA256 [32]byte
}

// Store is the WAL of one timeline on disk. All methods may be called
// concurrently.
type Store struct{}

// Create makes the timeline's folder dir with a control file and an empty WAL,
// durably and all at once: it is built under another name and renamed. It
// returns ErrExists if dir holds a timeline. Control.Watermark is ignored.
func Create(dir string, c Control, o Options) (*Store, error) { panic("todo") }

// Open recovers the timeline in dir; guarantee 3 of the package comment holds
// when it returns.
func Open(dir string, o Options) (*Store, error) { panic("todo") }

// Control returns a copy of the control file's content.
func (s *Store) Control() Control { panic("todo") }

// SaveControl applies edit to a copy of the control file's content and makes
// the result durable. ID, SegmentSize, Start and Watermark cannot be edited. A
// nil edit only moves the watermark up. On error the content is the old one; a
// full disk is ErrDiskFull, anything else fences the store.
func (s *Store) SaveControl(edit func(*Control)) error { panic("todo") }

// Positions returns where the WAL ends.
func (s *Store) Positions() Positions { panic("todo") }

// Append writes data, WAL of the PostgreSQL timeline tli, at the position at,
// which must be Positions().Write: ErrGap and ErrOverlap otherwise. It does not
// wait for the disk. Bytes from Control.Start on are checked record by record
// before they are written: a *CorruptionError means that nothing was taken.
// On ErrDiskFull nothing was taken either, except that data longer than a
// segment may have been taken in part: Positions says how far.
// data is not kept.
func (s *Store) Append(tli wal.TLI, at wal.LSN, data []byte) error { panic("todo") }

// Sync returns nil once everything that was appended before the call is on
// disk. ErrDiskFull may be tried again; ErrFenced is final until Open.
func (s *Store) Sync() error { panic("todo") }

// Truncate makes to the end of the WAL, under the history h from now on, and
// returns when that is on disk. to must be a record end (or the first segment's
// start, which empties the store) at or below WriteRecord; h must agree with the
// history in force on everything below to: ErrHistory otherwise. The caller
// persists h with SaveControl afterwards; until then a crash brings back the old
// history with the WAL already cut.
func (s *Store) Truncate(to wal.LSN, h wal.TimelineHistory) error { panic("todo") }

// ReadAt reads WAL from at on into p, up to len(p) bytes and not beyond the end
// of what was written, and returns how many. At the end it returns 0 and io.EOF;
// below Oldest ErrRemoved, above the end ErrGap. Fewer bytes than len(p) mean
// that the WAL ended there at that moment.
func (s *Store) ReadAt(p []byte, at wal.LSN) (int, error) { panic("todo") }

// Digests returns the SHA-256 of the range's bytes, cut at multiples of 1 MiB.
func (s *Store) Digests(ctx context.Context, r wal.Range) ([]Digest, error) { panic("todo") }

// RemoveBefore removes whole segments below lsn, oldest first, and returns how
// many. The segment with the last durable byte always stays.
func (s *Store) RemoveBefore(lsn wal.LSN) (removed int, err error) { panic("todo") }

// Oldest is the first position that ReadAt can read.
func (s *Store) Oldest() wal.LSN { panic("todo") }

// Fenced returns nil, or an error that wraps ErrFenced and the cause.
func (s *Store) Fenced() error { panic("todo") }

// SynthesizePrefix fills the bytes from the first segment's start to
// Control.Start with page headers and a made-up continuation record, for peers
// that cannot send the true bytes. It does nothing when they are there.
func (s *Store) SynthesizePrefix() error { panic("todo") }

// Close makes appended WAL durable, waits for background work and closes the
// files. A second call returns nil.
func (s *Store) Close() error { panic("todo") }
