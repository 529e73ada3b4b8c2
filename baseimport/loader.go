package baseimport

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/walhaven/walhaven/internal/pgdata"
	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

const (
	// batchBytes is what is put at once.
	batchBytes = 1 << 20
	// entryBytes is what an entry takes there beside its value.
	entryBytes = 96
)

// Stats are what was loaded so far.
type Stats struct {
	Files, Relations, Blocks, Bytes uint64
}

// Loader puts a base backup into an empty timeline. Its methods belong to one
// goroutine.
type Loader struct {
	tl    *pagestore.Timeline
	stats Stats

	lsn     wal.LSN // of the batch that is being filled
	entries []pagestore.Entry
	arena   []byte

	sizes     map[relFork]uint32
	databases map[walrecord.RelFile]bool
	control   *pgdata.Control
	label     *pgdata.Label
	block     page.Page
}

type relFork struct {
	rel  walrecord.RelFile
	fork walrecord.Fork
}

// NewLoader begins at the timeline's start; the timeline must be empty.
func NewLoader(tl *pagestore.Timeline) *Loader {
	return &Loader{tl: tl, lsn: tl.LastLSN() + 1, sizes: map[relFork]uint32{}, databases: map[walrecord.RelFile]bool{}}
}

// Stats says what was loaded so far.
func (l *Loader) Stats() Stats { return l.stats }

// Tablespace notes where a tablespace lies on the server.
func (l *Loader) Tablespace(ctx context.Context, oid uint32, location string) error {
	return l.put(ctx, pagekey.Tablespace(oid), append(l.arena, location...))
}

// Archive loads the tar archive of a tablespace; 0 is the data directory's. It
// reads r to its end.
func (l *Loader) Archive(ctx context.Context, space uint32, r io.Reader) error {
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read archive of tablespace %d: %w", space, err)
		}
		if err := l.member(ctx, space, h, t); err != nil {
			return fmt.Errorf("%s: %w", strconv.Quote(h.Name), err)
		}
	}
	// Behind its end an archive is padded.
	if _, err := io.Copy(io.Discard, r); err != nil {
		return fmt.Errorf("read archive of tablespace %d: %w", space, err)
	}
	return nil
}

func (l *Loader) member(ctx context.Context, space uint32, h *tar.Header, r io.Reader) error {
	// PostgreSQL ends the names of links, too, with a slash.
	name := strings.TrimSuffix(strings.TrimPrefix(h.Name, "./"), "/")
	switch h.Typeflag {
	case tar.TypeSymlink:
		if oid, ok := strings.CutPrefix(name, "pg_tblspc/"); ok && space == 0 {
			n, err := strconv.ParseUint(oid, 10, 32)
			if err != nil {
				return fmt.Errorf("tablespace: %w", err)
			}
			return l.Tablespace(ctx, uint32(n), h.Linkname)
		}
		return nil
	case tar.TypeDir:
		if f := nameFile(space, name); f.kind == kindVersion {
			return l.database(ctx, f.rel)
		}
		return nil
	case tar.TypeReg:
	default:
		return nil
	}
	l.stats.Files++
	l.stats.Bytes += uint64(h.Size)
	f := nameFile(space, name)
	if f.rel.Database != 0 {
		if err := l.database(ctx, walrecord.RelFile{Tablespace: f.rel.Tablespace, Database: f.rel.Database}); err != nil {
			return err
		}
	}
	switch f.kind {
	case kindSkip, kindVersion:
		return nil
	case kindRelation:
		return l.relation(ctx, &f, h.Size, r)
	case kindSLRU:
		return l.segment(ctx, &f, h.Size, r)
	}
	return l.small(ctx, &f, h.Size, r)
}

// database notes that a database has a folder in a tablespace.
func (l *Loader) database(ctx context.Context, folder walrecord.RelFile) error {
	if folder.Database == 0 || l.databases[folder] {
		return nil
	}
	l.databases[folder] = true
	return l.put(ctx, pagekey.Database(folder.Tablespace, folder.Database), l.arena)
}

// put adds an entry whose value was appended to the arena.
func (l *Loader) put(ctx context.Context, key pagestore.Key, arena []byte) error {
	value := arena[len(l.arena):]
	l.arena = arena
	l.entries = append(l.entries, pagestore.Entry{Key: key, LSN: l.lsn, Kind: pagestore.Image, Value: value[:len(value):len(value)]})
	if len(l.arena)+entryBytes*len(l.entries) < batchBytes {
		return nil
	}
	return l.flush(ctx)
}

// flush puts the batch. An LSN never spans two batches, so each has one of its
// own, far below any that a server has written.
func (l *Loader) flush(ctx context.Context) error {
	err := l.tl.Put(ctx, pagestore.Batch{Entries: l.entries, LSN: l.lsn})
	l.entries, l.arena = l.entries[:0], l.arena[:0]
	l.lsn++
	if err != nil {
		return fmt.Errorf("store pages: %w", err)
	}
	return nil
}

// Base is where an import begins and what it is of.
type Base struct {
	pgdata.Label
	Control pgdata.Control
}

// Finish puts the control file, makes everything durable and returns where redo
// begins, which is then the timeline's last LSN. Errors say what the archives
// lacked.
func (l *Loader) Finish(ctx context.Context) (Base, error) {
	var b Base
	switch {
	case l.control == nil:
		return b, errors.New("the backup has no global/pg_control")
	case l.label != nil:
		b.Label = *l.label
	case l.control.State == pgdata.ShutDown: // The files are as of the checkpoint.
		b.Label = pgdata.Label{Start: l.control.Redo, TLI: l.control.TLI}
	default:
		return b, errors.New("the backup has no backup_label, and its server was not shut down")
	}
	b.Control = *l.control
	if l.lsn >= b.Start {
		return b, fmt.Errorf("the backup begins at %s, which is too low for its %d parts", b.Start, l.lsn)
	}
	if err := l.flush(ctx); err != nil {
		return b, err
	}
	l.stats.Relations = uint64(len(l.sizes))
	l.lsn = b.Start
	if err := l.put(ctx, pagekey.ControlFile(), append(l.arena, b.Control.Raw...)); err != nil {
		return b, err
	}
	if err := l.put(ctx, pagekey.Checkpoint(), append(l.arena, b.Control.CheckPoint...)); err != nil {
		return b, err
	}
	if err := l.flush(ctx); err != nil {
		return b, err
	}
	if err := l.tl.Flush(ctx); err != nil {
		return b, fmt.Errorf("make the import durable: %w", err)
	}
	return b, nil
}
