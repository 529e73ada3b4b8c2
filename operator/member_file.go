package operator

import (
	"context"
	"net"
	"slices"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/protocol/pushwal"
)

// noteMembers makes the cluster file's safekeepers those of a membership, so that
// status, wal get and the next walproposer ask them. Whom it cannot describe in full
// it names all the same; a file that cannot be written is only said, for the members
// have changed whatever it says.
func (c *Cluster) noteMembers(ctx context.Context, m *Members, say func(string)) {
	invariant.Point("operator/member/established")
	safekeepers, retired := c.withMembership(ctx, m.view.Config)
	if c.dir == "" || slices.Equal(safekeepers, c.Safekeepers) && slices.Equal(retired, c.Retired) {
		return
	}
	next := *c
	next.Safekeepers, next.Retired = safekeepers, retired
	invariant.Point("operator/member/file/before")
	err := next.save()
	invariant.Point("operator/member/file/after")
	if err != nil {
		say("the cluster file still names the old members: " + err.Error())
		return
	}
	c.Safekeepers, c.Retired = safekeepers, retired
	say("cluster file: " + ClusterFile + " names the members of this generation now")
}

// withMembership returns the safekeepers that the members in force are, the ones
// that the file has first; and the local ones that are members no more, which `down`
// still has to stop.
func (c *Cluster) withMembership(ctx context.Context, conf pushwal.Configuration) (safekeepers, retired []Node) {
	members := slices.Clone(conf.Members)
	for _, n := range conf.NewMembers {
		if !slices.ContainsFunc(members, func(m pushwal.Member) bool { return m.ID == n.ID }) {
			members = append(members, n)
		}
	}
	take := func(nodes []Node) {
		for _, n := range nodes {
			at := func(m pushwal.Member) bool { return int(m.ID) == n.ID && addressOf(m) == n.PG }
			i := slices.IndexFunc(members, at)
			switch {
			case i >= 0:
				safekeepers, members = append(safekeepers, n), slices.Delete(members, i, i+1)
			case c.Attached == nil && !n.External:
				retired = append(retired, n)
			}
		}
	}
	take(c.Safekeepers)
	take(c.Retired)
	for _, m := range members {
		n := Node{ID: int(m.ID), PG: addressOf(m), External: c.Attached == nil}
		n.HTTP = c.setting(ctx, n.PG, "listen_http", m.Host)
		if !n.External {
			n.DataDir = c.setting(ctx, n.PG, "data_dir", "")
		}
		safekeepers = append(safekeepers, n)
	}
	return safekeepers, retired
}

// setting asks a safekeeper for one of its settings, "" when it does not say. An
// address that is every address becomes host's.
func (c *Cluster) setting(ctx context.Context, address, name, host string) string {
	rows, err := c.query(ctx, address, "SHOW "+name, nil)
	if err != nil || len(rows) == 0 {
		return ""
	}
	value := rows[0][name]
	if h, port, err := net.SplitHostPort(value); err == nil && host != "" && (h == "" || net.ParseIP(h).IsUnspecified()) {
		return net.JoinHostPort(host, port)
	}
	return value
}
