package safekeeper_test

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/pageserver"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/safekeeper"
	"github.com/walhaven/walhaven/wal"
)

// pushingTo configures a safekeeper that pushes to a pageserver.
func pushingTo(nodes ...*node) func(*safekeeper.Config) {
	return func(c *safekeeper.Config) {
		for _, n := range nodes {
			c.Pageserver = append(c.Pageserver, n.addr)
		}
	}
}

// active is the node ID of the pusher that the pageserver chose, "" for none.
func active(ps *node) string {
	rows, err := ps.query("SHOW RECEIVERS")
	if err != nil {
		return ""
	}
	for _, r := range rows {
		if r["active"] == "t" {
			return r["node_id"]
		}
	}
	return ""
}

// hearsOfFlush waits until its pageserver, the only one, has told the node that it
// is durable up to there, which it is before.
func (n *node) hearsOfFlush(at wal.LSN) {
	n.t.Helper()
	require.Eventually(n.t, func() bool {
		rows, err := n.query("SHOW SENDERS")
		return err == nil && len(rows) == 1 && rows[0]["flush_lsn"] == at.String()
	}, patience, 10*time.Millisecond)
}

func requireSameWAL(t *testing.T, r wal.Range, a, b *node) {
	t.Helper()
	query := "WAL_DIGEST " + r.Start.String() + " " + r.End.String()
	require.Equal(t, a.mustQuery(query), b.mustQuery(query))
}

func TestCommittedWALReachesThePageserver(t *testing.T) {
	o := builtOrigin(t, 2<<20)
	ps := startPageserver(t, 9)
	sk := startSafekeeper(t, 1, pushingTo(ps))
	o.found(t, []*node{sk})
	p := propose(t, sk, o, 1, nil)

	mid := o.ends[len(o.ends)/2]
	p.append(o.end(), mid) // all is flushed on the safekeeper, half of it committed
	p.waitFlush(o.end())
	p.append(o.end(), mid)
	ps.waitLSN("disk_consistent_lsn", mid)
	requireSameWAL(t, wal.Range{Start: o.from, End: mid}, sk, ps)
	require.Equal(t, mid, ps.lsn("last_record_lsn"), "not a byte above the commit position")

	p.close() // residual WAL is pushed with no writer alive
	sk.restart()
	ps.restart()
	p = propose(t, sk, o, 2, nil)
	p.append(o.end(), o.end())
	p.waitFlush(o.end())
	p.append(o.end(), o.end())
	p.close()
	ps.waitLSN("disk_consistent_lsn", o.end())
	requireSameWAL(t, wal.Range{Start: o.from, End: o.end()}, sk, ps)

	sk.hearsOfFlush(o.end())
	rows := sk.mustQuery("SHOW SENDERS")
	require.Len(t, rows, 1)
	require.Equal(t, "pageserver", rows[0]["kind"])
	require.Equal(t, "pushing", rows[0]["state"])
}

// The active pusher dies: another takes over within 2 s, and nothing is lost or
// doubled by it. Then the dead one comes back with the same committed prefix.
func TestTakeoverOfThePush(t *testing.T) {
	o := builtOrigin(t, 2<<20)
	ps := startPageserver(t, 9)
	members := []*node{startSafekeeper(t, 1, pushingTo(ps)), startSafekeeper(t, 2, pushingTo(ps))}
	o.found(t, members)
	proposers := map[*node]*proposer{}
	mid := o.ends[len(o.ends)/2]
	for _, sk := range members {
		p := propose(t, sk, o, 1, nil)
		p.append(mid, 0)
		p.waitFlush(mid)
		p.append(mid, mid)
		proposers[sk] = p
	}
	ps.waitLSN("disk_consistent_lsn", mid)
	require.Eventually(t, func() bool { return len(ps.mustQuery("SHOW RECEIVERS")) == 2 }, patience, 10*time.Millisecond,
		"both are connected, one pushes")

	dead, left := members[0], members[1]
	if active(ps) == "2" {
		dead, left = left, dead
	}
	proposers[dead].close()
	dead.down()
	proposers[left].append(o.end(), 0)
	proposers[left].waitFlush(o.end())
	began := time.Now()
	proposers[left].append(o.end(), o.end())
	ps.waitLSN("disk_consistent_lsn", o.end())
	t.Logf("the other one took over within %s", time.Since(began))
	requireSameWAL(t, wal.Range{Start: o.from, End: o.end()}, left, ps)
}

// Two that push at once, against the pageserver's choice, are harmless: every
// byte that is there already is compared and dropped.
func TestTwoPushersAtOnceAreHarmless(t *testing.T) {
	o := builtOrigin(t, 2<<20)
	ps := startPageserver(t, 9)
	a, b := pushDirectly(t, ps, o, 1), pushDirectly(t, ps, o, 2)
	for pos := o.from; pos < o.end(); {
		next := min(pos+50_000, o.end())
		a.frame(pos, next, o.end(), nil)
		b.frame(max(o.from, pos-30_000), next, o.end(), nil)
		pos = next
	}
	ps.waitLSN("disk_consistent_lsn", o.end())
	sk := startSafekeeper(t, 1, nil)
	o.found(t, []*node{sk})
	p := propose(t, sk, o, 1, nil)
	p.append(o.end(), 0)
	p.waitFlush(o.end())
	requireSameWAL(t, wal.Range{Start: o.from, End: o.end()}, sk, ps)
}

// A pusher whose committed bytes differ stops the timeline: alarm, not ready,
// nothing overwritten.
func TestDifferentWALStopsTheTimeline(t *testing.T) {
	o := builtOrigin(t, 1<<20)
	ps := startPageserver(t, 9)
	good := pushDirectly(t, ps, o, 1)
	mid := o.ends[len(o.ends)/2]
	good.frame(o.from, min(mid, o.from+100_000), o.end(), nil)
	end := min(mid, o.from+100_000)
	ps.waitLSN("last_record_lsn", o.from+50_000)
	before := ps.mustQuery("WAL_DIGEST " + o.from.String() + " " + (o.from + 50_000).String())

	bad := pushDirectly(t, ps, o, 2)
	bad.frame(o.from, end, o.end(), func(b []byte) { b[40_000] ^= 1 })
	require.ErrorContains(t, bad.waitEnd(), "pushed WAL differs from what is stored, first at "+(o.from+40_000).String())
	require.Equal(t, before, ps.mustQuery("WAL_DIGEST "+o.from.String()+" "+(o.from+50_000).String()))
	require.Equal(t, "halted", ps.mustQuery("TIMELINE_STATUS")[0]["state"])
	ready, checks := ps.health.Status()
	require.False(t, ready)
	require.True(t, slices.ContainsFunc(checks, func(c daemon.CheckStatus) bool {
		return !c.OK && strings.Contains(c.Reason, "differs")
	}), "%v", checks)
	good.frame(end, end+100, o.end(), nil)
	require.Error(t, good.waitEnd(), "nobody may push any more")
}

func TestPageserverRefuses(t *testing.T) {
	o := builtOrigin(t, 1<<20)
	for name, tc := range map[string]struct {
		begin, end, commit wal.LSN
		edit               func([]byte)
		want               string
	}{
		"a gap":             {o.from + 8192, o.from + 16384, o.end(), nil, "but the WAL here ends at"},
		"uncommitted bytes": {o.from, o.from + 8192, o.from + 8191, nil, "above its commit LSN"},
		"a broken record":   {o.from, o.from + 8192, o.end(), func(b []byte) { b[200] ^= 1 }, "corrupt"},
	} {
		t.Run(name, func(t *testing.T) {
			ps := startPageserver(t, 9)
			p := pushDirectly(t, ps, o, 1)
			p.frame(tc.begin, tc.end, tc.commit, tc.edit)
			require.ErrorContains(t, p.waitEnd(), tc.want)
		})
	}
}

func TestPageserverRefusesAnotherCluster(t *testing.T) {
	o := builtOrigin(t, 1<<20)
	ps := startPageserver(t, 9)
	pushDirectly(t, ps, o, 1)
	other := *o
	other.systemID++
	_, err := greetPageserver(t, ps, &other, 2)
	require.ErrorContains(t, err, "system identifier")
}

// directPusher is a scripted pusher, which may do what ours never does.
type directPusher struct {
	*proposer
}

func greetPageserver(t *testing.T, ps *node, o *origin, id uint64) (*directPusher, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := replication.Dial(ctx, ps.conninfo(), "START_WAL_PUSH (proto_version '3', walhaven '1', role 'pageserver')", ps.options())
	require.NoError(t, err)
	p := &proposer{
		t: t, stream: stream, o: o, cancel: cancel, done: make(chan struct{}),
		codec: pushwal.Codec{Version: pushwal.Version3, Walhaven: true},
	}
	p.send(p.codec.AppendProposerGreeting(nil, &pushwal.ProposerGreeting{
		TTID: testID, PGVersion: o.version, SystemID: o.systemID, SegmentSize: o.segment, TLI: 1,
		NodeID: pushwal.NodeID(id), Name: "main", Start: o.start, TLIHistory: wal.TimelineHistory{Last: 1},
	}))
	msg, err := stream.Receive()
	if err != nil {
		cancel()
		_ = stream.Close()
		return nil, err
	}
	var hello pushwal.AcceptorGreeting
	require.NoError(t, p.codec.DecodeAcceptorGreeting(msg, &hello))
	go p.listen()
	t.Cleanup(p.close)
	return &directPusher{p}, nil
}

func pushDirectly(t *testing.T, ps *node, o *origin, id uint64) *directPusher {
	t.Helper()
	p, err := greetPageserver(t, ps, o, id)
	require.NoError(t, err)
	return p
}

// frame sends the bytes [begin, end), changed by edit.
func (p *directPusher) frame(begin, end, commit wal.LSN, edit func([]byte)) {
	data := append([]byte(nil), p.o.bytes(wal.Range{Start: begin, End: end})...)
	if edit != nil {
		edit(data)
	}
	m := pushwal.AppendRequest{Begin: begin, End: end, CommitLSN: commit, TLI: 1, CRC: pushwal.Checksum(data), WAL: data}
	_ = p.stream.Send(p.codec.AppendAppendRequestHeader(nil, &m), data) // the end of the session is told by waitEnd
	_ = p.stream.Flush()
}

func (p *directPusher) waitEnd() error {
	select {
	case <-p.done:
		return p.ended
	case <-time.After(patience):
		return context.DeadlineExceeded
	}
}

// A pageserver that takes nothing does not hold up the safekeeper, nor its end.
func TestDeafPageserverHoldsNothingUp(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	o := builtOrigin(t, 1<<20)
	sk := startSafekeeper(t, 1, func(c *safekeeper.Config) { c.Pageserver = []string{ln.Addr().String()} })
	o.found(t, []*node{sk})
	p := propose(t, sk, o, 1, nil)
	p.append(o.end(), 0)
	p.waitFlush(o.end())
	p.append(o.end(), o.end())
	sk.waitLSN("commit_lsn", o.end())
	require.Eventually(t, func() bool { ready, _ := sk.health.Status(); return ready }, patience, 5*time.Millisecond, "its disk is tried in the background")
	sk.down()
}

// A pageserver that nobody pushes to is provisioned by pulling.
func TestPageserverPulls(t *testing.T) {
	o, h := switchedOrigin(t)
	sk := startSafekeeper(t, 1, nil)
	o.found(t, []*node{sk})
	p := propose(t, sk, o, 1, nil)
	at := h.Ancestors[0].Switch
	p.append(at, 0)
	p.waitFlush(at)
	p.append(at, at)
	ps := startPageserver(t, 9, func(c *pageserver.Config) { c.Safekeeper = []string{sk.addr} })
	ps.waitLSN("disk_consistent_lsn", at)
	p.close()
	p = proposeTLI(t, sk, o, 2, h)
	p.append(o.end(), 0)
	p.waitFlush(o.end())
	p.append(o.end(), o.end())
	ps.waitLSN("disk_consistent_lsn", o.end())
	requireSameWAL(t, wal.Range{Start: o.from, End: o.end()}, sk, ps)
}

// A timeline of PostgreSQL that was elected but of which nothing is committed
// may lose to another. A pageserver that took it over could follow neither.
func TestPageserverPullsNoUncommittedTimeline(t *testing.T) {
	o, h := switchedOrigin(t)
	sk := startSafekeeper(t, 1, nil)
	o.found(t, []*node{sk})
	p := propose(t, sk, o, 1, nil)
	at := h.Ancestors[0].Switch
	p.append(at, 0)
	p.waitFlush(at)
	p.append(at, at)
	sk.waitLSN("commit_lsn", at)
	p.close()
	p = proposeTLI(t, sk, o, 2, h)
	p.append(o.end(), 0) // flushed here, committed by nobody
	p.waitFlush(o.end())
	require.Equal(t, "2", sk.mustQuery("TIMELINE_STATUS")[0]["tli"])
	ps := startPageserver(t, 9, func(c *pageserver.Config) { c.Safekeeper = []string{sk.addr} })
	ps.waitLSN("disk_consistent_lsn", at)
	require.Equal(t, "1", ps.mustQuery("TIMELINE_STATUS")[0]["tli"])
	p.append(o.end(), o.end())
	ps.waitLSN("disk_consistent_lsn", o.end())
	require.Equal(t, "2", ps.mustQuery("TIMELINE_STATUS")[0]["tli"])
}
