package operator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"

	program "github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/headless"
)

// plan makes the wanted members of the ones in force, and has a new one take the
// timeline in as a joining node.
func (c *Cluster) plan(ctx context.Context, now *Members, o MemberChange) (pushwal.Configuration, error) {
	want := pushwal.Configuration{Generation: now.view.Config.Generation, Members: slices.Clone(now.view.Config.Members)}
	if err := c.checkRemoved(ctx, now, o); err != nil {
		return want, err
	}
	if o.Add != "" {
		m, s, err := c.joiner(ctx, now, o)
		if err != nil {
			return want, err
		}
		i := slices.IndexFunc(want.Members, func(k pushwal.Member) bool { return k.ID == m.ID })
		switch {
		case i >= 0 && want.Members[i].Incarnation == m.Incarnation && s.Joining && s.Configuration.Generation >= want.Generation:
			return want, program.Explain(fmt.Errorf("node %d lost the timeline and kept its identity: it does not count, and cannot be told from the member that it was", m.ID),
				"", "Stop it, empty all of its data directory, start it, and repeat this command.")
		case i >= 0 && want.Members[i].Incarnation == m.Incarnation: // a member already
		case i >= 0 && o.Remove == m.ID:
			want.Members[i] = m
			o.Remove = 0
		case i >= 0:
			return want, fmt.Errorf("node %d is a member with another data directory; replace it: walhaven member replace %d %s", m.ID, m.ID, o.Add)
		default:
			want.Members = append(want.Members, m)
		}
		if m.ID == o.Remove { // replaced under its ID, and done
			o.Remove = 0
		}
	}
	if o.Remove != 0 {
		want.Members = slices.DeleteFunc(want.Members, func(m pushwal.Member) bool { return m.ID == o.Remove })
	}
	slices.SortFunc(want.Members, func(a, b pushwal.Member) int { return cmp.Compare(a.ID, b.ID) })
	if len(want.Members) == 0 {
		return want, errors.New("the last member cannot be removed")
	}
	return want, nil
}

// checkRemoved refuses to remove a node that is no member, and to replace one by one that
// is none either: the other would be added, and nobody leave. A change that has gone
// through, and whose command has not ended, is none of these: the node was in the joint
// state that is left now, or is in the cluster file still; the one that came in its place
// is a member.
func (c *Cluster) checkRemoved(ctx context.Context, now *Members, o MemberChange) error {
	in := func(members []pushwal.Member, id pushwal.NodeID) bool {
		return slices.ContainsFunc(members, func(m pushwal.Member) bool { return m.ID == id })
	}
	if o.Remove == 0 || in(now.view.Config.Members, o.Remove) {
		return nil
	}
	hint := "walhaven member list names the members"
	if o.Add == "" {
		listed := slices.ContainsFunc(c.Safekeepers, func(n Node) bool { return n.ID == int(o.Remove) })
		if listed || in(now.before, o.Remove) {
			return nil
		}
	} else {
		if s, err := c.timelineStatus(ctx, Node{PG: o.Add}); err == nil && in(now.view.Config.Members, s.NodeID) {
			return nil
		}
		hint += "; walhaven member add " + o.Add + " makes one more"
	}
	return program.Explain(fmt.Errorf("node %d is no member of generation %d, nothing was changed", o.Remove, now.view.Config.Generation), "", hint+".")
}

// joiner is the node at an address, with the timeline, and what it says of it.
func (c *Cluster) joiner(ctx context.Context, now *Members, o MemberChange) (m pushwal.Member, s replication.Status, err error) {
	host, port, err := net.SplitHostPort(o.Add)
	if err != nil {
		return m, s, fmt.Errorf("address %q: %w", o.Add, err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return m, s, fmt.Errorf("address %q: %w", o.Add, err)
	}
	if s, err = c.timelineStatus(ctx, Node{PG: o.Add}); err != nil {
		// The walproposer may have had it join meanwhile: what counts is that it does.
		created := c.createJoining(ctx, now, o)
		if s, err = c.timelineStatus(ctx, Node{PG: o.Add}); err != nil {
			if created != nil && created.Error() != err.Error() {
				err = errors.Join(created, err)
			}
			return m, s, fmt.Errorf("safekeeper %s: %w", o.Add, err)
		}
	}
	return pushwal.Member{ID: s.NodeID, Host: host, Port: uint16(n), Incarnation: s.Incarnation}, s, nil
}

// createJoining makes the timeline on a node that lacks it: as a member that neither
// votes nor counts, to be filled from its beginning, or from where the
// members have WAL.
func (c *Cluster) createJoining(ctx context.Context, now *Members, o MemberChange) error {
	donor, ok := firstMember(now.view)
	if !ok {
		return ErrNoQuorum
	}
	name, err := c.nameAt(ctx, now)
	if err != nil {
		return err
	}
	begin, ok := replication.BeginningOf(now.view.Answers)
	if !ok {
		return replication.ErrNoBeginning
	}
	h, terms := begin.TLIHistory, ""
	if len(begin.History) > 0 {
		terms = ", term_history '" + replication.FormatTermHistory(begin.History) + "'"
	}
	config := now.view.Config
	statement := fmt.Sprintf("CREATE TIMELINE %s %s (name '%s', system_id '%s', pg_version '%d', wal_segment_size '%d', "+
		"start_lsn '%s', tli '%d', tli_history %s, generation '%d', members '%s', incarnations '%s', joining 'true'%s)",
		c.Tenant, c.Timeline, name, donor.SystemID, donor.PGVersion, uint32(donor.SegmentSize),
		begin.Start, h.Last, quoteLiteral(string(h.Format())), config.Generation,
		replication.FormatMembers(config.Members), replication.FormatIncarnations(config.Members), terms)
	o.Progress(o.Add + ": " + statement)
	invariant.Point("operator/member/found/before")
	_, err = c.query(ctx, o.Add, statement, nil)
	invariant.Point("operator/member/found/after")
	if err != nil {
		return err
	}
	return nil
}

func firstMember(v headless.View) (replication.Answer, bool) {
	i := slices.IndexFunc(v.Answers, func(a replication.Answer) bool { return a.Err == nil && !a.Joining })
	if i < 0 {
		return replication.Answer{}, false
	}
	return v.Answers[i], true
}

// nameAt asks the members for the timeline's name.
func (c *Cluster) nameAt(ctx context.Context, now *Members) (string, error) {
	failures := []error{fmt.Errorf("timeline %s has no name anywhere", c.Timeline)}
	for i, a := range now.view.Answers {
		if a.Err != nil {
			continue
		}
		rows, err := c.query(ctx, now.at[i], "SHOW TIMELINES", nil)
		failures = append(failures, err)
		for _, row := range rows {
			if row["tenant_id"] == c.Tenant.String() && row["timeline_id"] == c.Timeline.String() {
				return row["name"], nil
			}
		}
	}
	return "", errors.Join(failures...)
}
