package walproposer

import (
	"context"
	"log/slog"

	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/headless"
	"github.com/walhaven/walhaven/wal"
)

// SyncOptions say which timeline's end to settle.
type SyncOptions struct {
	Safekeepers []string // connection strings or host:port
	Tenant      wal.TenantID
	Timeline    wal.TimelineID
	Logger      *slog.Logger // nil: nothing is logged
}

// Sync wins a term over a majority without a server, brings the majority to the
// best voter's position, commits it there, and returns it. It deposes a writer:
// ask it only when there is none.
func Sync(ctx context.Context, o SyncOptions) (wal.LSN, error) {
	p, err := newPeers(o.Safekeepers, "", "", o.Tenant, o.Timeline.String())
	if err != nil {
		return 0, err
	}
	h := headless.Options{
		ID: wal.TTID{Tenant: o.Tenant, Timeline: o.Timeline}, Logger: o.Logger,
		Dial: replication.DialOptions{Params: map[string]string{"application_name": ApplicationName}},
	}
	for i, conninfo := range p.conninfos {
		h.Peers = append(h.Peers, headless.Peer{Name: p.address(i), Conninfo: conninfo})
	}
	return headless.Sync(ctx, h)
}
