package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/internal/procstat"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord/walrecordtest"
)

// keeper is a safekeeper that runs in a folder of its own.
type keeper struct {
	dir, addr string
	cmd       *exec.Cmd
	log       bytes.Buffer
}

// startKeeper starts a safekeeper and returns when it answers.
func (p plan) startKeeper(ctx context.Context) (*keeper, error) {
	dir, err := os.MkdirTemp(p.Dir, "safekeeper-")
	if err != nil {
		return nil, err
	}
	port, err := compute.FreePort()
	if err != nil {
		return nil, err
	}
	k := &keeper{dir: dir, addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
	k.cmd = exec.Command(filepath.Join(p.Programs, "safekeeper"), "--id", "1", "--data-dir", filepath.Join(dir, "data"), //nolint:noctx // It ends by stop.
		"--listen-pg", k.addr, "--listen-http", "", "--min-free-disk", "0",
		"--headless-after", "0s") // Our proposers say nothing while they rest.
	k.cmd.Stderr = &k.log
	k.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := k.cmd.Start(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := k.query(ctx, wal.TTID{}, "SHOW NODE")
		if err == nil {
			return k, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			k.stop()
			return nil, fmt.Errorf("start safekeeper: %w\n%s", err, k.log.String())
		}
	}
}

func (k *keeper) pid() int { return k.cmd.Process.Pid }

// stop ends it and deletes what it kept.
func (k *keeper) stop() {
	_ = k.cmd.Process.Kill()
	_ = k.cmd.Wait()
	_ = os.RemoveAll(k.dir)
}

func (k *keeper) conninfo() string {
	host, port, _ := net.SplitHostPort(k.addr)
	return fmt.Sprintf("host=%s port=%s user=bench dbname=bench sslmode=disable", host, port)
}

func options(id wal.TTID) replication.DialOptions {
	if id.Tenant.IsZero() {
		return replication.DialOptions{}
	}
	return replication.DialOptions{Params: map[string]string{
		"options": fmt.Sprintf("-c tenant_id=%s -c timeline_id=%s", id.Tenant, id.Timeline),
	}}
}

func (k *keeper) query(ctx context.Context, id wal.TTID, sql string) ([]replication.Row, error) {
	return replication.Query(ctx, k.conninfo(), sql, options(id))
}

// major is the PostgreSQL whose WAL is made.
const major = 15

// found makes timeline n, of which this safekeeper is the only member.
func (k *keeper) found(ctx context.Context, n int, start wal.LSN) (wal.TTID, error) {
	id := wal.TTID{Tenant: wal.TenantID{1}, Timeline: wal.TimelineID{byte(n >> 8), byte(n), 1}}
	row, err := k.query(ctx, wal.TTID{}, "SHOW NODE")
	if err != nil {
		return id, err
	}
	_, err = k.query(ctx, wal.TTID{}, fmt.Sprintf(`CREATE TIMELINE %s %s (name 't%d', system_id '%d', pg_version '%d', wal_segment_size '%d', start_lsn '%s', members '1=%s', incarnations '1=%s')`,
		id.Tenant, id.Timeline, n, uint64(walrecordtest.SystemID), major*10000, wal.DefaultSegmentSize, start, k.addr, row[0]["incarnation"]))
	return id, err
}

// makeWAL makes at least n bytes of WAL in records of about 8 kB, as page images
// are, with the first record's start and the last one's end.
func makeWAL(n int) (b *walrecordtest.Builder, first, end wal.LSN) {
	b = walrecordtest.New(walrecordtest.Options{Start: 3 * wal.LSN(wal.DefaultSegmentSize), SegmentSize: wal.DefaultSegmentSize, Major: major})
	for len(b.Bytes()) < n {
		var at wal.LSN
		if at, end = b.Message(8200); first == 0 {
			first = at
		}
	}
	return b, first, end
}

// cpu is what a process and all that descend from it have used, in seconds.
func cpu(pid int) (float64, error) {
	used, err := procstat.CPU(pid)
	return used.Seconds(), err
}
