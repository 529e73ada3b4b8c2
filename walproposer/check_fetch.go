package walproposer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/walhaven/walhaven/internal/pgdata"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/receiver"
	"github.com/walhaven/walhaven/wal"
)

// maxFetch is the most WAL that is fetched into a data directory, in bytes: far more
// than early push is ever ahead of PostgreSQL's flush. Whoever lacks more is an older
// copy.
const maxFetch = 16 << 20

// fetchable says that a directory lacks nothing but the last WAL up to end, of its own
// timeline, and that its server, which crashed, replays WAL at its next start: with
// what is missing in its pg_wal it comes up as what it was.
//
// Its pages tell of nothing that its own WAL does not have, because PostgreSQL flushes
// WAL before pages. A server without fsync (marked) does not.
func fetchable(d *pgdata.Directory, marked bool, end wal.LSN, last wal.TLI) bool {
	crashed := d.State != pgdata.ShutDown && d.State != pgdata.ShutDownInRecovery
	return crashed && !marked && !d.Standby && d.BackupStart == 0 && d.TLI == last && d.Oldest < d.End &&
		d.End < end && end-d.End <= maxFetch
}

// Fetch writes the WAL that a crashed server's directory lacks into its pg_wal,
// durably, and checks it again. The directory is one that Check has called Fetchable;
// another one is left as it is. Before that the end of WAL is settled, once no
// walproposer was heard for o.TakeoverAfter.
func Fetch(ctx context.Context, o CheckOptions) (*Verdict, error) {
	c, v, err := examine(ctx, o)
	if err != nil {
		return nil, err
	}
	verdict, err := c.judge(ctx, v)
	if err != nil || !verdict.Fetchable {
		return verdict, err
	}
	if v, err = c.silence(ctx, v); err != nil {
		return nil, err
	}
	end, err := Sync(ctx, SyncOptions{Safekeepers: c.peers.all(), Tenant: c.peers.tenant, Timeline: c.timeline, Logger: c.o.Logger})
	if err != nil {
		return nil, fmt.Errorf("settle the end of WAL: %w", err)
	}
	if !fetchable(c.dir, c.marked, end, v.Proof.TLIHistory.Last) {
		return Check(ctx, o)
	}
	data, err := c.receive(ctx, v.Proof.Donor, wal.Range{Start: c.dir.End, End: end})
	if err != nil {
		return nil, fmt.Errorf("fetch WAL from safekeeper %s: %w", c.peers.address(v.Proof.Donor), err)
	}
	if err := writeWAL(c.dir, c.dir.End, data); err != nil {
		return nil, fmt.Errorf("write WAL to %s: %w", c.dir.Path, err)
	}
	c.o.Logger.Info("fetched", "from", c.dir.End, "upto", end)
	return Check(ctx, o)
}

// receive reads committed WAL from a safekeeper.
func (c *check) receive(ctx context.Context, peer int, r wal.Range) ([]byte, error) {
	o := c.peers.dialOptions(lookTimeout)
	o.Params["replication"], o.Params["application_name"] = "true", replication.FillApplication
	client, err := replication.Connect(ctx, c.peers.all()[peer], o)
	if err != nil {
		return nil, err
	}
	defer client.Close() //nolint:errcheck // Reading left nothing to save.
	stream, err := receiver.Start(ctx, client, r.Start, receiver.Options{TLI: c.dir.TLI, Timeout: silentFor})
	if err != nil {
		return nil, err
	}
	defer stream.Close() //nolint:errcheck // As above.
	all := make([]byte, 0, r.Len())
	for at := r.Start; at < r.End; {
		from, data, err := stream.Next()
		if err != nil {
			return nil, err
		}
		if from != at {
			return nil, fmt.Errorf("it sends %s instead of %s", from, at)
		}
		data = data[:min(wal.LSN(len(data)), r.End-at)]
		all, at = append(all, data...), at+wal.LSN(len(data))
	}
	return all, nil
}

// writeWAL writes data, which belong at at, into the segments of the directory's
// timeline, durably.
func writeWAL(d *pgdata.Directory, at wal.LSN, data []byte) error {
	folder := filepath.Join(d.Path, "pg_wal")
	for len(data) > 0 {
		no := d.SegmentSize.SegmentNo(at)
		n := min(len(data), int(d.SegmentSize.Start(no+1)-at))
		if err := writeSegment(filepath.Join(folder, d.SegmentSize.FileName(d.TLI, no)), d.SegmentSize, d.SegmentSize.Offset(at), data[:n]); err != nil {
			return err
		}
		at, data = at+wal.LSN(n), data[n:]
	}
	f, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// writeSegment writes into one segment; one that is not there it makes, for the owner
// of the folder, but only from its first byte on.
func writeSegment(path string, size wal.SegmentSize, off uint32, data []byte) error {
	flags := os.O_WRONLY
	if off == 0 {
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("it lacks the first part of that segment: %w", err)
	}
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, int64(off))
	if info, serr := f.Stat(); err == nil && serr == nil && info.Size() < int64(size) {
		err = f.Truncate(int64(size)) // Longer, with zeros.
	}
	if info, serr := os.Stat(filepath.Dir(path)); serr == nil {
		if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
			err = errors.Join(err, f.Chown(int(st.Uid), int(st.Gid)))
		}
	}
	return errors.Join(err, f.Sync(), f.Close())
}
