package baseimport

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"

	"github.com/walhaven/walhaven/internal/pgdata"
	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal"
)

const (
	// maxSmall bounds files that are read whole, in bytes: a prepared transaction
	// can hold many locks and messages.
	maxSmall = 16 << 20
	// originMagic begins pg_logical/replorigin_checkpoint.
	originMagic = 0x1257DADE
)

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
func (l *Loader) small(ctx context.Context, f *file, size int64, r io.Reader) (err error) {
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
		l.control, err = parseControl(b)
	case kindLabel:
		label, parsed := pgdata.ParseLabel(b)
		l.label, err = &label, parsed
	}
	return err
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
