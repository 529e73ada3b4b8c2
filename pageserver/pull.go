package pageserver

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/receiver"
	"github.com/walhaven/walhaven/wal"
)

// pullEvery is how often a safekeeper of --safekeeper is asked for its
// timelines.
const pullEvery = 2 * time.Second

// pull provisions this pageserver from one safekeeper until ctx is done: every
// timeline there that nobody pushes is founded here and read by
// START_REPLICATION. What is pulled goes the way of what is pushed.
func (s *Server) pull(ctx context.Context, addr string) {
	tick := time.NewTicker(pullEvery)
	defer tick.Stop()
	logger := s.logger.With("safekeeper", addr)
	last := ""
	for {
		err := s.pullRound(ctx, addr)
		if err != nil && ctx.Err() == nil && err.Error() != last {
			last = err.Error()
			logger.Warn("pull from safekeeper", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// pullRound takes over what one safekeeper has more of, timeline by timeline.
func (s *Server) pullRound(ctx context.Context, addr string) error {
	conninfo, err := s.o.Config.Peer.Conninfo(addr)
	if err != nil {
		return err
	}
	application := program + "_" + strconv.FormatUint(s.identity.ID, 10)
	rows, err := replication.Query(ctx, conninfo, "SHOW TIMELINES", s.o.Config.Peer.Options(application, wal.TTID{}))
	if err != nil {
		return err
	}
	var errs []error
	for _, row := range rows {
		id, err := timelineID(row)
		if err != nil || row["state"] == "failed" {
			continue
		}
		p := puller{server: s, conninfo: conninfo, options: s.o.Config.Peer.Options(application, id), id: id, name: row["name"]}
		if err := p.run(ctx); err != nil {
			errs = append(errs, fmt.Errorf("timeline %s: %w", id, err))
		}
	}
	return errors.Join(errs...)
}

func timelineID(row replication.Row) (id wal.TTID, err error) {
	if id.Tenant, err = wal.ParseTenantID(row["tenant_id"]); err != nil {
		return id, err
	}
	id.Timeline, err = wal.ParseTimelineID(row["timeline_id"])
	return id, err
}

// puller reads one timeline from one safekeeper.
type puller struct {
	server   *Server
	conninfo string
	options  replication.DialOptions
	id       wal.TTID
	name     string
	timeline *timeline
}

// run takes over what is committed there now, unless somebody pushes.
func (p *puller) run(ctx context.Context) error {
	rows, err := replication.Query(ctx, p.conninfo, "TIMELINE_STATUS", p.options)
	if err != nil || len(rows) == 0 {
		return err
	}
	status, err := replication.ParseStatus(rows[0])
	if err != nil {
		return err
	}
	if status.CommitLSN <= status.Start {
		return nil
	}
	greeting := pushwal.ProposerGreeting{
		TTID: p.id, PGVersion: status.PGVersion, SystemID: status.SystemID, SegmentSize: status.SegmentSize,
		NodeID: status.NodeID, Name: p.name, Start: status.Origin(), TLIHistory: status.CommittedHistory(),
	}
	if p.timeline, err = p.server.timelines.findOrFound(&protocol.Session{}, &greeting); err != nil {
		return err
	}
	if len(p.timeline.receivers()) > 0 {
		return nil
	}
	if err := p.timeline.admit(&greeting); err != nil {
		return err
	}
	return p.copyUpto(ctx, status.CommitLSN)
}

// copyUpto reads WAL until it reaches end here.
func (p *puller) copyUpto(ctx context.Context, end wal.LSN) error {
	at := p.timeline.store.Positions().Write
	if at >= end {
		return nil
	}
	p.options.Params["replication"] = "true"
	client, err := replication.Connect(ctx, p.conninfo, p.options)
	if err != nil {
		return err
	}
	defer client.Close()
	r, err := receiver.Start(ctx, client, at, receiver.Options{})
	if err != nil {
		return fmt.Errorf("ask for WAL from %s: %w", at, err)
	}
	defer r.Close()
	for unsynced := 0; at < end; {
		pos, data, err := r.Next()
		if err != nil {
			return fmt.Errorf("read WAL at %s: %w", at, err)
		}
		if err := p.take(pos, data); err != nil {
			return err
		}
		at = pos + wal.LSN(len(data))
		if unsynced += len(data); at >= end || unsynced >= syncEvery {
			unsynced = 0
			if err := p.timeline.sync(); err != nil {
				return err
			}
		}
	}
	return nil
}

// take stores a run of committed WAL as frames of one timeline each.
func (p *puller) take(at wal.LSN, data []byte) error {
	h := p.timeline.store.Control().History
	for len(data) > 0 {
		n := min(len(data), pushwal.MaxAppend)
		if sw, _, ok := h.SwitchPoint(h.TLIAt(at)); ok && at+wal.LSN(n) > sw {
			n = int(sw - at)
		}
		end := at + wal.LSN(n)
		_, err := p.timeline.take(nil, &pushwal.AppendRequest{
			Begin: at, End: end, CommitLSN: end, TLI: h.TLIAt(at), CRC: pushwal.Checksum(data[:n]), WAL: data[:n],
		}, time.Now())
		if err != nil {
			return err
		}
		at, data = end, data[n:]
	}
	return nil
}
