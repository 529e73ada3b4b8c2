package operator

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/walhaven/walhaven/wal"
)

// compareTimeout bounds the wait until every node has what the server has.
const compareTimeout = time.Minute

// copyOf is the last closed segment as one side has it on disk.
type copyOf struct {
	side  string
	path  string
	flush wal.LSN
	sum   string
}

// compare closes the open WAL segment, waits until every node has it, and
// compares the files byte for byte by their digests. It asks the disks, not the
// programs.
func (l *local) compare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, compareTimeout)
	defer cancel()
	end, name, err := l.closeSegment(ctx)
	if err != nil {
		return err
	}
	copies := []copyOf{{side: "postgres", path: filepath.Join(l.Postgres.DataDir, "pg_wal", name), flush: end}}
	for _, n := range l.Safekeepers {
		if n.External {
			continue // its disk is elsewhere
		}
		flush, err := l.awaitLSN(ctx, n, "flush_lsn", end)
		if err != nil {
			return fmt.Errorf("safekeeper %d does not reach %s: %w", n.ID, end, err)
		}
		copies = append(copies, copyOf{side: nodeName("safekeeper", n.ID), path: filepath.Join(l.timelineDir(n), name), flush: flush})
	}
	for _, n := range l.Pageservers {
		flush, err := l.awaitLSN(ctx, n, "disk_consistent_lsn", end)
		if err != nil {
			return fmt.Errorf("pageserver %d does not reach %s: %w", n.ID, end, err)
		}
		copies = append(copies, copyOf{side: nodeName("pageserver", n.ID), path: filepath.Join(l.timelineDir(n), name), flush: flush})
	}
	for i := range copies {
		// The position passes the end of the segment with the record that closes it;
		// the file gets its name when the padding behind the record is there too.
		err := poll(ctx, 20*time.Millisecond, func() (ok bool, err error) {
			copies[i].sum, err = hashFile(copies[i].path)
			if errors.Is(err, fs.ErrNotExist) {
				return false, nil
			}
			return err == nil, err
		})
		if err != nil {
			return fmt.Errorf("%s: read %s: %w", copies[i].side, copies[i].path, err)
		}
	}
	return l.printCopies(name, copies)
}

func (l *local) printCopies(name string, copies []copyOf) error {
	l.say("\nThe last closed segment %s as it is on each disk:", name)
	t := tabwriter.NewWriter(l.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SIDE\tON DISK UP TO\tSHA-256\tFILE")
	var differ []string
	for _, c := range copies {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", c.side, c.flush, c.sum, c.path)
		if c.sum != copies[0].sum {
			differ = append(differ, c.side)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(differ) > 0 {
		return fmt.Errorf("segment %s differs from PostgreSQL's on: %s", name, strings.Join(differ, ", "))
	}
	l.say("all %d are the same", len(copies))
	return nil
}

// closeSegment ends the open segment; end is the start of the next one.
func (l *local) closeSegment(ctx context.Context) (end wal.LSN, name string, err error) {
	// The message makes sure that there is something to close.
	rows, err := l.server.Query(ctx, `SELECT pg_logical_emit_message(true, 'walhaven', 'up');
		SELECT pg_walfile_name(lsn), lsn FROM (SELECT pg_switch_wal() AS lsn) s`)
	if err != nil || len(rows) != 1 {
		return 0, "", errors.Join(fmt.Errorf("switch WAL segment: %d rows", len(rows)), err)
	}
	at, err := wal.ParseLSN(rows[0][1])
	if err != nil {
		return 0, "", fmt.Errorf("switch WAL segment: %w", err)
	}
	size, err := l.segmentSize(ctx)
	if err != nil {
		return 0, "", err
	}
	return size.Start(size.SegmentNo(at-1) + 1), rows[0][0], nil
}

func (l *local) segmentSize(ctx context.Context) (wal.SegmentSize, error) {
	text, err := l.server.QueryValue(ctx, "SHOW wal_segment_size")
	if err != nil {
		return 0, fmt.Errorf("read WAL segment size: %w", err)
	}
	return wal.ParseSegmentSize(text)
}

// awaitLSN waits until the node's column has reached end.
func (c *Cluster) awaitLSN(ctx context.Context, n Node, column string, end wal.LSN) (reached wal.LSN, err error) {
	err = poll(ctx, 50*time.Millisecond, func() (bool, error) {
		r, err := c.timelineRow(ctx, n.PG)
		if err != nil {
			return false, err
		}
		reached, err = wal.ParseLSN(r[column])
		return reached >= end, err
	})
	return reached, err
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("compare segments: %w", err)
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("compare segments: read %s: %w", path, err)
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}
