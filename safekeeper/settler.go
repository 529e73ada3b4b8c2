package safekeeper

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/headless"
)

// Pauses after a run that failed.
const (
	settleBackoff      = time.Second
	settleBackoffLimit = 30 * time.Second
)

// settler keeps one timeline's end of WAL settled while nobody writes. It belongs
// to the goroutine that watches the peers.
type settler struct {
	s       *Server
	t       *timeline
	backoff time.Duration
	next    time.Time // no run before
	reason  string    // of the last verdict against a run
}

// consider runs the headless proposer if the situation calls for it.
func (x *settler) consider(ctx context.Context, own replication.Status, peers []peer) {
	if time.Now().Before(x.next) {
		return
	}
	v := situation{own: own, peers: peers, after: x.s.o.Config.HeadlessAfter}.judge()
	if !v.run {
		if v.reason != x.reason {
			x.t.logger.Debug("the end of WAL is not settled from here", "reason", v.reason)
		}
		x.reason = v.reason
		return
	}
	x.t.logger.Info("settling the end of WAL", "reason", v.reason, "term", uint64(v.view.MaxTerm)+1)
	err := x.run(ctx, v.view, own, peers)
	switch {
	case err == nil:
		x.backoff = 0
		x.s.metrics.settled.Inc()
		return
	case ctx.Err() != nil:
		return
	case headless.Passing(err):
		x.t.logger.Info("settling was overtaken", "err", err)
	default:
		x.s.metrics.settleFailed.Inc()
		x.t.logger.Warn("cannot settle the end of WAL", "err", err)
	}
	x.backoff = min(max(2*x.backoff, settleBackoff), settleBackoffLimit)
	x.next = time.Now().Add(x.backoff)
}

// errNoMember says that the membership names this node no more.
var errNoMember = errors.New("this node is no member")

// run is one headless run over the members, this one included. The order is that
// of the answers that the view was made of.
func (x *settler) run(ctx context.Context, v headless.View, own replication.Status, peers []peer) error {
	all := own.Configuration.All()
	i := slices.IndexFunc(all, func(m pushwal.Member) bool { return m.ID == own.NodeID })
	if i < 0 {
		return errNoMember
	}
	o := headless.Options{ID: x.t.id, Dial: x.s.dialOptions(x.t.id), Logger: x.t.logger}
	members := []pushwal.Member{all[i]}
	for _, p := range peers {
		members = append(members, p.member)
	}
	for _, m := range members {
		address := memberAddress(m)
		conninfo, err := x.s.o.Config.Peer.Conninfo(address)
		if err != nil {
			return err
		}
		o.Peers = append(o.Peers, headless.Peer{Name: address, Conninfo: conninfo})
	}
	_, err := headless.Run(ctx, o, v)
	return err
}
