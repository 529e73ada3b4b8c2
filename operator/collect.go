package operator

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/walhaven/walhaven/wal"
)

// probeTimeout bounds each question that status asks, so that a dead node
// costs a moment and not a TCP timeout.
const probeTimeout = 4 * time.Second

// CollectStatus asks every part of the cluster how it is. A part that does not
// answer is part of the answer, not an error.
func (c *Cluster) CollectStatus(ctx context.Context) *Status {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	s := &Status{
		TenantID:    c.Tenant,
		TimelineID:  c.Timeline,
		Safekeepers: make([]SafekeeperStatus, len(c.Safekeepers)),
		Pageservers: make([]PageserverStatus, len(c.Pageservers)),
	}
	var wg sync.WaitGroup
	wg.Go(func() { s.Postgres = c.postgresStatus(ctx) })
	wg.Go(func() { s.Walproposer = c.walproposerStatus(ctx) })
	for i, n := range c.Safekeepers {
		wg.Go(func() { s.Safekeepers[i] = c.safekeeperStatus(ctx, n) })
	}
	for i, n := range c.Pageservers {
		wg.Go(func() { s.Pageservers[i] = c.pageserverStatus(ctx, n) })
	}
	wg.Wait()
	s.CommitLSN, s.Term = s.Walproposer.CommitLSN, s.Walproposer.Term
	for _, sk := range s.Safekeepers {
		s.CommitLSN, s.Term = max(s.CommitLSN, sk.CommitLSN), max(s.Term, sk.Term)
	}
	for i := range s.Safekeepers {
		s.Safekeepers[i].LagBytes = distance(s.Safekeepers[i].FlushLSN, s.CommitLSN)
	}
	for i := range s.Pageservers {
		s.Pageservers[i].LagBytes = distance(s.Pageservers[i].LastRecordLSN, s.CommitLSN)
	}
	s.judge()
	return s
}

// distance is how far from lies behind to; never negative.
func distance(from, to wal.LSN) uint64 {
	if from >= to {
		return 0
	}
	return uint64(to - from)
}

func (c *Cluster) safekeeperStatus(ctx context.Context, n Node) SafekeeperStatus {
	s := SafekeeperStatus{ID: n.ID, PG: n.PG, HTTP: n.HTTP, DataDir: n.DataDir, PID: c.PID(nodeName("safekeeper", n.ID))}
	r, err := c.queryOne(ctx, n.PG, "TIMELINE_STATUS")
	if err != nil {
		s.Error = err.Error()
		return s
	}
	p := rowParser{row: r}
	s.FlushLSN, s.CommitLSN = p.lsn("flush_lsn"), p.lsn("commit_lsn")
	s.Term = wal.Term(p.uint("term"))
	s.Joining = r["joining"] == "t"
	s.writerAge = p.millis("writer_age_ms")
	if p.err != nil {
		s.Error = p.err.Error()
	}
	return s
}

func (c *Cluster) pageserverStatus(ctx context.Context, n Node) PageserverStatus {
	s := PageserverStatus{ID: n.ID, PG: n.PG, HTTP: n.HTTP, DataDir: n.DataDir, PID: c.PID(nodeName("pageserver", n.ID))}
	r, err := c.queryOne(ctx, n.PG, "TIMELINE_STATUS")
	if err != nil {
		s.Error = err.Error()
		return s
	}
	p := rowParser{row: r}
	s.LastRecordLSN, s.DiskConsistentLSN = p.lsn("last_record_lsn"), p.lsn("disk_consistent_lsn")
	s.LagSeconds = p.seconds("lag_seconds")
	if p.err != nil {
		s.Error = p.err.Error()
	}
	return s
}

func (c *Cluster) postgresStatus(ctx context.Context) PostgresStatus {
	s := PostgresStatus{Conninfo: c.Postgres.Conninfo(), DataDir: c.Postgres.DataDir, PID: postmasterPID(c.Postgres.DataDir)}
	rows, err := queryConninfo(ctx, s.Conninfo, "SHOW server_version")
	switch {
	case err != nil:
		s.Error = err.Error()
	case len(rows) == 1:
		s.Version = rows[0]["server_version"]
	}
	return s
}

func (c *Cluster) walproposerStatus(ctx context.Context) WalproposerStatus {
	s := WalproposerStatus{HTTP: c.Walproposer.HTTP, PushPIDs: []int{}, PID: c.PID("walproposer")}
	if err := getJSON(ctx, "http://"+c.Walproposer.HTTP+"/v1/status", &s); err != nil {
		s.Error = err.Error()
	}
	s.HTTP = c.Walproposer.HTTP
	return s
}

// getJSON reads one JSON answer of bounded size.
func getJSON(ctx context.Context, url string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("read %s: %w", url, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", url, resp.Status)
	}
	return json.Unmarshal(body, into)
}

// rowParser reads typed columns and keeps the first error.
type rowParser struct {
	row row
	err error
}

func (p *rowParser) keep(column string, err error) {
	if err != nil && p.err == nil {
		p.err = fmt.Errorf("column %s: %w", column, err)
	}
}

func (p *rowParser) lsn(column string) wal.LSN {
	v, err := wal.ParseLSN(p.row[column])
	p.keep(column, err)
	return v
}

func (p *rowParser) uint(column string) uint64 {
	v, err := strconv.ParseUint(p.row[column], 10, 64)
	p.keep(column, err)
	return v
}

func (p *rowParser) millis(column string) time.Duration {
	v, err := strconv.ParseInt(p.row[column], 10, 64)
	p.keep(column, err)
	return time.Duration(v) * time.Millisecond
}

func (p *rowParser) seconds(column string) float64 {
	if p.row[column] == "" {
		return 0
	}
	v, err := strconv.ParseFloat(p.row[column], 64)
	p.keep(column, err)
	return v
}
