package baseimport

import (
	"archive/tar"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"

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
	// maxSmall bounds files that are read whole, in bytes: a prepared transaction
	// can hold many locks and messages.
	maxSmall = 16 << 20
	// originMagic begins pg_logical/replorigin_checkpoint.
	originMagic = 0x1257DADE
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
	control   *Control
	label     *Label
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

// relation loads a segment of a fork. A part of a block at its end was being
// written; WAL has it.
func (l *Loader) relation(ctx context.Context, f *file, size int64, r io.Reader) error {
	first := f.segment * relSegBlocks
	blocks := size / page.Size
	if blocks > relSegBlocks {
		return fmt.Errorf("segment of %d blocks", blocks)
	}
	for i := range uint32(blocks) {
		if _, err := io.ReadFull(r, l.block[:]); err != nil {
			return fmt.Errorf("read block %d: %w", first+i, err)
		}
		if err := l.page(ctx, pagekey.Block(f.rel, f.fork, first+i)); err != nil {
			return err
		}
	}
	at := relFork{f.rel, f.fork}
	known, seen := l.sizes[at]
	if n := first + uint32(blocks); !seen || n > known {
		l.sizes[at] = n
		return l.put(ctx, pagekey.RelationSize(f.rel, f.fork), pagekey.AppendSize(l.arena, n))
	}
	return nil
}

// segment loads a segment of an SLRU.
func (l *Loader) segment(ctx context.Context, f *file, size int64, r io.Reader) error {
	pages := size / page.Size
	if pages > pagekey.SLRUSegmentPages {
		return fmt.Errorf("segment of %d pages", pages)
	}
	for i := range uint64(pages) {
		if _, err := io.ReadFull(r, l.block[:]); err != nil {
			return fmt.Errorf("read page %d: %w", i, err)
		}
		if err := l.page(ctx, pagekey.SLRUPage(f.slru, uint64(f.segment)*pagekey.SLRUSegmentPages+i)); err != nil {
			return err
		}
	}
	return l.put(ctx, pagekey.SLRUSegment(f.slru, f.segment), pagekey.AppendSize(l.arena, uint32(pages)))
}

// page puts l.block. Zeroes are what a block without a value is.
func (l *Loader) page(ctx context.Context, key pagestore.Key) error {
	l.stats.Blocks++
	if l.block == (page.Page{}) {
		return nil
	}
	return l.put(ctx, key, pagekey.AppendPage(l.arena, &l.block))
}

// small loads a file that is read whole.
func (l *Loader) small(ctx context.Context, f *file, size int64, r io.Reader) error {
	switch {
	case size > maxSmall && f.kind == kindTwoPhase:
		return fmt.Errorf("state of prepared transaction %d has %d bytes, more than %d; "+
			"end it with COMMIT PREPARED or ROLLBACK PREPARED, see pg_prepared_xacts, and import again", f.xid, size, maxSmall)
	case size > maxSmall:
		return fmt.Errorf("file of %d bytes, more than %d", size, maxSmall)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(r, b); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	switch f.kind {
	case kindRelMap:
		return l.put(ctx, pagekey.RelMap(f.rel.Tablespace, f.rel.Database), append(l.arena, b...))
	case kindTwoPhase:
		return l.twoPhase(ctx, f.xid, b)
	case kindOrigins:
		return l.origins(ctx, b)
	case kindMap:
		return l.tablespaceMap(ctx, string(b))
	case kindControl:
		c, err := ParseControl(b)
		l.control = &c
		return err
	case kindLabel:
		label, err := ParseLabel(b)
		l.label = &label
		return err
	}
	return nil
}

// twoPhase puts the state of a prepared transaction without its checksum, as the
// record has it.
func (l *Loader) twoPhase(ctx context.Context, xid uint32, b []byte) error {
	n := len(b) - 4
	if n < 0 || binary.LittleEndian.Uint32(b[n:]) != crc32.Checksum(b[:n], castagnoli) {
		return errors.New("state of a prepared transaction has a wrong checksum; take the backup again")
	}
	return l.put(ctx, pagekey.TwoPhase(xid), append(l.arena, b[:n]...))
}

// origins puts how far replication origins are: 16 bytes each, number and
// remote LSN, between a magic number and a checksum.
func (l *Loader) origins(ctx context.Context, b []byte) error {
	n := len(b) - 4
	if n < 4 || binary.LittleEndian.Uint32(b) != originMagic || n%16 != 4 ||
		binary.LittleEndian.Uint32(b[n:]) != crc32.Checksum(b[:n], castagnoli) {
		return errors.New("file of replication origins is damaged")
	}
	for e := b[4:n]; len(e) > 0; e = e[16:] {
		remote := wal.LSN(binary.LittleEndian.Uint64(e[8:]))
		if err := l.put(ctx, pagekey.Origin(binary.LittleEndian.Uint16(e)), pagekey.AppendOrigin(l.arena, remote, 0)); err != nil {
			return err
		}
	}
	return nil
}

// tablespaceMap reads lines of an OID and a path, in which a backslash escapes a
// line feed, a carriage return and itself.
func (l *Loader) tablespaceMap(ctx context.Context, content string) error {
	var line strings.Builder
	escaped := false
	for _, c := range content {
		switch {
		case c == '\\' && !escaped:
			escaped = true
			continue
		case c == '\n' && !escaped:
			oid, path, _ := strings.Cut(line.String(), " ")
			n, err := strconv.ParseUint(oid, 10, 32)
			if err != nil {
				return fmt.Errorf("tablespace_map: %w", err)
			}
			if err := l.Tablespace(ctx, uint32(n), path); err != nil {
				return err
			}
			line.Reset()
			continue
		}
		escaped = false
		line.WriteRune(c)
	}
	return nil
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
	Label
	Control Control
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
	case l.control.ShutDown:
		b.Label = Label{Start: l.control.Redo, TLI: l.control.TLI}
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
	raw := l.control.raw
	if err := l.put(ctx, pagekey.ControlFile(), append(l.arena, raw...)); err != nil {
		return b, err
	}
	checkpoint := raw[controlCopy : controlCopy+checkpointSize]
	if err := l.put(ctx, pagekey.Checkpoint(), append(l.arena, checkpoint...)); err != nil {
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
