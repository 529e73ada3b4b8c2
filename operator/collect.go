package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/walhaven/walhaven/internal/postmaster"
	"github.com/walhaven/walhaven/internal/syncrep"
	"github.com/walhaven/walhaven/replication"
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
	wg.Go(func() {
		s.Walproposer = c.walproposerStatus(ctx)
		if s.Walproposer.Error == "" {
			intervals, _ := c.RPO(ctx) // Its log says what is wrong with the ledger.
			s.Walproposer.RecentlyCancelled = recentlyCancelled(intervals, time.Now())
		}
	})
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
	t, err := c.timelineStatus(ctx, n)
	if err != nil {
		s.Error = err.Error()
		return s
	}
	s.FlushLSN, s.CommitLSN, s.Term, s.Joining = t.FlushLSN, t.CommitLSN, t.Term, t.Joining
	return s
}

func (c *Cluster) pageserverStatus(ctx context.Context, n Node) PageserverStatus {
	s := PageserverStatus{ID: n.ID, PG: n.PG, HTTP: n.HTTP, DataDir: n.DataDir, PID: c.PID(nodeName("pageserver", n.ID))}
	r, err := c.timelineRow(ctx, n.PG)
	if err != nil {
		s.Error = err.Error()
		return s
	}
	var errs [3]error
	s.LastRecordLSN, errs[0] = r.LSN("last_record_lsn")
	s.DiskConsistentLSN, errs[1] = r.LSN("disk_consistent_lsn")
	s.LagSeconds, errs[2] = strconv.ParseFloat(r["lag_seconds"], 64)
	if err := errors.Join(errs[:]...); err != nil {
		s.Error = err.Error()
	}
	return s
}

func (c *Cluster) postgresStatus(ctx context.Context) PostgresStatus {
	s := PostgresStatus{Conninfo: c.Postgres.Conninfo(), DataDir: c.Postgres.DataDir, PID: postmaster.PID(c.Postgres.DataDir)}
	rows, err := replication.Query(ctx, s.Conninfo, postgresFacts, replication.DialOptions{Timeout: probeTimeout})
	switch {
	case err != nil:
		s.Error = err.Error()
	case len(rows) == 1:
		s.Version, s.StandbyNames = rows[0]["version"], rows[0]["names"]
		s.Waits = commitsWait(rows[0])
	}
	return s
}

// postgresFacts is all that decides whether commits wait for the walproposer. Should an
// earlier connection of it linger, the one that counts is the last in the alphabet.
const postgresFacts = `SELECT current_setting('server_version') AS version,
	current_setting('synchronous_standby_names') AS names,
	current_setting('synchronous_commit') AS level,
	(SELECT max(sync_state) FROM pg_stat_replication WHERE application_name = 'walhaven') AS sync_state,
	(SELECT count(*) FROM pg_stat_replication WHERE application_name <> 'walhaven' AND sync_state IN ('sync', 'quorum')) AS others`

// commitsWait says whether the walproposer's connection is one of those that
// synchronous_standby_names chooses, and no others are there that do in its place.
func commitsWait(row replication.Row) bool {
	names, err := syncrep.Parse(row["names"])
	others, oerr := strconv.Atoi(row["others"])
	chosen := row["sync_state"] == "sync" || row["sync_state"] == "quorum"
	return syncrep.Waits(row["level"]) && chosen && err == nil && oerr == nil && !names.DoesWithout(others)
}

// walproposerRow is the walproposer's /v1/status, whose columns are text.
type walproposerRow struct {
	PID       int       `json:"pid"`
	TapPID    int       `json:"tap_pid"`
	PushPIDs  []int     `json:"push_pids"`
	Term      wal.Term  `json:"term,string"`
	CommitLSN wal.LSN   `json:"commit_lsn"`
	State     string    `json:"state"`
	Since     time.Time `json:"since"`
	Reason    string    `json:"reason"`
	LiveSince time.Time `json:"live_since"`
	Cancelled string    `json:"cancelled_waits"`
}

func (c *Cluster) walproposerStatus(ctx context.Context) WalproposerStatus {
	s := WalproposerStatus{HTTP: c.Walproposer.HTTP, PushPIDs: []int{}, PID: c.PID("walproposer")}
	var r walproposerRow
	if err := getJSON(ctx, "http://"+s.HTTP+"/v1/status", &r); err != nil {
		s.Error = err.Error()
		return s
	}
	s.PID, s.TapPID, s.PushPIDs = r.PID, r.TapPID, append(s.PushPIDs, r.PushPIDs...)
	s.Term, s.CommitLSN = r.Term, r.CommitLSN
	s.State, s.Since, s.Reason, s.LiveSince = r.State, r.Since, r.Reason, r.LiveSince
	s.CancelledWaits = r.Cancelled
	return s
}

// maxJSON bounds an answer over HTTP, in bytes: a ledger may be as long as that.
const maxJSON = 64 << 20

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
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxJSON+1))
	if err == nil && len(body) > maxJSON {
		err = fmt.Errorf("it is longer than %d bytes", maxJSON)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", url, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", url, resp.Status)
	}
	return json.Unmarshal(body, into)
}
