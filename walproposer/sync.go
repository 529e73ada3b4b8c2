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
	h, err := o.headless()
	if err != nil {
		return 0, err
	}
	return headless.Sync(ctx, h)
}

// Hold does what Sync does and keeps the term against the walproposer that it
// deposed, until another one takes over (--takeover) or it is closed.
func Hold(ctx context.Context, o SyncOptions) (*headless.Holding, error) {
	h, err := o.headless()
	if err != nil {
		return nil, err
	}
	return headless.Hold(ctx, h)
}

func (o SyncOptions) headless() (headless.Options, error) {
	p, err := newPeers(o.Safekeepers, "", "", o.Tenant, o.Timeline.String())
	if err != nil {
		return headless.Options{}, err
	}
	h := headless.Options{
		ID: wal.TTID{Tenant: o.Tenant, Timeline: o.Timeline}, Logger: o.Logger,
		Dial: replication.DialOptions{Params: map[string]string{"application_name": ApplicationName}},
	}
	for i, conninfo := range p.all() {
		h.Peers = append(h.Peers, headless.Peer{Name: p.address(i), Conninfo: conninfo})
	}
	return h, nil
}
