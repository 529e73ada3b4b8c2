package walproposer

import (
	"context"
	"errors"
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
func Sync(ctx context.Context, o SyncOptions) (end wal.LSN, err error) {
	err = o.settle(ctx, func(h headless.Options) (err error) {
		end, err = headless.Sync(ctx, h)
		return err
	})
	return end, err
}

// Hold does what Sync does and keeps the term against the walproposer that it
// deposed, until another one takes over (--takeover) or it is closed.
func Hold(ctx context.Context, o SyncOptions) (held *headless.Holding, err error) {
	err = o.settle(ctx, func(h headless.Options) (err error) {
		held, err = headless.Hold(ctx, h)
		return err
	})
	return held, err
}

// settle runs do on the safekeepers of the list and, should they be no quorum any more,
// on the members that they name: whoever calls this in an emergency may have a list that
// is older than the membership.
func (o SyncOptions) settle(ctx context.Context, do func(headless.Options) error) error {
	p, err := newPeers(o.Safekeepers, "", "", o.Tenant, o.Timeline.String())
	if err != nil {
		return err
	}
	for range maxFollows {
		if err = do(o.headless(p)); !errors.Is(err, headless.ErrNoQuorum) || ctx.Err() != nil {
			return err
		}
		changed, again := p.follow(p.statuses(ctx, nil))
		if again != nil || !changed {
			return errors.Join(err, again)
		}
		o.headless(p).Logger.Warn(notTheMembers, "safekeepers", p.addresses())
	}
	return err
}

// notTheMembers is said of a list of safekeepers that is older than the membership.
const notTheMembers = "--safekeepers is not the membership, whose nodes are taken instead"

func (o SyncOptions) headless(p *peers) headless.Options {
	h := headless.Options{
		ID: wal.TTID{Tenant: o.Tenant, Timeline: o.Timeline}, Logger: o.Logger,
		Dial: replication.DialOptions{Params: map[string]string{"application_name": ApplicationName}},
	}
	if h.Logger == nil {
		h.Logger = slog.New(slog.DiscardHandler)
	}
	for i, conninfo := range p.all() {
		h.Peers = append(h.Peers, headless.Peer{Name: p.address(i), Conninfo: conninfo})
	}
	return h
}
