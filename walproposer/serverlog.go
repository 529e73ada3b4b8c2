package walproposer

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
)

// Limits of what a look reads of PostgreSQL's log.
const (
	logRead      = 1 << 20 // bytes at once
	logReads     = 8       // a look; the rest is read a second later
	maxLogFolder = 10_000  // files of a log folder whose sizes are remembered
)

// logSource is where PostgreSQL's log is.
type logSource interface {
	// look returns the file that is written now, and the sizes of all that may be, in
	// bytes.
	look(ctx context.Context) (file string, sizes map[string]int64, err error)
	// read returns up to logRead bytes, fewer at the end of the file only; nothing when
	// the file is gone.
	read(ctx context.Context, file string, offset int64) ([]byte, error)
}

// serverLog follows PostgreSQL's log for waits that were cancelled and settings that were
// changed. It begins at the end, and outlives sessions.
type serverLog struct {
	local  bool   // the file is on this machine
	file   string // "" = nothing was looked at
	offset int64
	sizes  map[string]int64 // when the end was reached last
	scan   logScan
	behind bool  // the last look did not reach the end
	end    int64 // of the file when it was looked at last

	found   int      // waits that are not recorded yet
	changes []change // that are not judged yet
	lapses  lapses
	was     []string  // settings that are not recorded yet
	from    wal.LSN   // where the quorum's WAL ended when the end was reached last
	good    time.Time // when that was
	// standbys are who else was connected at the last look.
	standbys []string
}

// look reads what is new, at most logReads times logRead bytes. What was found before
// an error counts.
func (l *serverLog) look(ctx context.Context, src logSource) error {
	if _, local := src.(localLog); local != l.local {
		l.local, l.file = local, ""
	}
	file, sizes, err := src.look(ctx)
	if err != nil {
		return err
	}
	if l.file == "" {
		l.begin(file, sizes[file])
		l.sizes = sizes
		return nil
	}
	if size, ok := sizes[l.file]; ok && size < l.offset {
		l.begin(l.file, 0) // it was cut
	}
	l.behind, l.end = true, sizes[l.file]
	for range logReads {
		b, err := src.read(ctx, l.file, l.offset)
		var refused *pgconn.PgError
		if err != nil && (l.file == file || !errors.As(err, &refused)) {
			return err
		}
		l.offset += int64(len(b))
		l.found += l.scan.feed(b)
		l.changes = append(l.changes, l.scan.take()...)
		switch {
		case len(b) >= logRead:
		case l.file != file: // The server goes on in another one, which it may append to.
			next := l.after(file, sizes)
			l.begin(next, 0)
			if was := l.sizes[next]; was <= sizes[next] {
				l.offset = was
			}
			l.behind, l.end = true, sizes[next]
		default:
			l.sizes, l.behind = sizes, false
			return nil
		}
	}
	return nil
}

// after is the file that the server went on in after l.file: the one that it writes
// now, or one between the two, for it may have gone on more than once since the last
// look. Names of files that it made one after the other sort so.
func (l *serverLog) after(file string, sizes map[string]int64) (next string) {
	next = file
	for name, size := range sizes {
		if l.file < name && name < next && path.Ext(name) == path.Ext(file) && size > l.sizes[name] {
			next = name
		}
	}
	return next
}

// unread is how much the last look left, in bytes.
func (l *serverLog) unread() int64 {
	if !l.behind {
		return 0
	}
	return max(0, l.end-l.offset)
}

func (l *serverLog) begin(file string, offset int64) {
	l.file, l.offset, l.scan, l.behind = file, offset, newLogScan(file), false
}

// collectorLog is the log of PostgreSQL's logging collector, over SQL.
type collectorLog struct{ c *replication.Client }

func (s collectorLog) look(ctx context.Context) (file string, sizes map[string]int64, err error) {
	row, err := one(ctx, s.c, "SELECT pg_current_logfile() AS file")
	if err != nil {
		return "", nil, err
	}
	if file = row["file"]; file == "" {
		return "", nil, errors.New("PostgreSQL's logging collector writes no file: log_destination names none")
	}
	rows, err := s.c.Query(ctx, fmt.Sprintf("SELECT name, size FROM pg_ls_logdir() ORDER BY name = %s DESC LIMIT %d", literal(path.Base(file)), maxLogFolder))
	if err != nil {
		return "", nil, fmt.Errorf("PostgreSQL: list log files: %w", err)
	}
	sizes = make(map[string]int64, len(rows))
	for _, row := range rows {
		size, err := strconv.ParseInt(row["size"], 10, 64)
		if err != nil {
			return "", nil, fmt.Errorf("PostgreSQL: list log files: %w", err)
		}
		sizes[path.Join(path.Dir(file), row["name"])] = size
	}
	return path.Clean(file), sizes, nil
}

// read asks for bytes, which pg_read_file would refuse where a character is cut, or is
// another database's.
func (s collectorLog) read(ctx context.Context, file string, offset int64) ([]byte, error) {
	row, err := one(ctx, s.c, fmt.Sprintf("SELECT encode(pg_read_binary_file(%s, %d, %d, true), 'base64') AS part", literal(file), offset, logRead))
	if err != nil {
		return nil, err
	}
	b, err := base64.StdEncoding.DecodeString(row["part"])
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL: read log: %w", err)
	}
	return b, nil
}

// literal is a string in SQL, whatever standard_conforming_strings says.
func literal(s string) string {
	return "E'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(s) + "'"
}

// localLog is a file on this machine that PostgreSQL's standard error goes to.
type localLog struct{ path string }

// open returns the file, and its name with what tells it from another one that takes
// its place.
func (s localLog) open() (f *os.File, name string, size int64, err error) {
	// A pipe would not be opened before somebody writes.
	if f, err = os.OpenFile(s.path, os.O_RDONLY|syscall.O_NONBLOCK, 0); err != nil {
		return nil, "", 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", s.path)
	}
	if err != nil {
		return nil, "", 0, errors.Join(err, f.Close())
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		name = strconv.FormatUint(stat.Ino, 10)
	}
	return f, s.path + ":" + name, info.Size(), nil
}

func (s localLog) look(context.Context) (file string, sizes map[string]int64, err error) {
	f, file, size, err := s.open()
	if err != nil {
		return "", nil, err
	}
	return file, map[string]int64{file: size}, f.Close()
}

func (s localLog) read(_ context.Context, file string, offset int64) (b []byte, err error) {
	f, name, size, err := s.open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if name != file {
		return nil, nil
	}
	b = make([]byte, max(0, min(size-offset, logRead)))
	n, err := f.ReadAt(b, offset)
	if errors.Is(err, io.EOF) {
		err = nil // it was cut meanwhile
	}
	return b[:n], err
}
