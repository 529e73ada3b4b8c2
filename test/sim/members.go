package sim

import (
	"slices"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
)

// maxOperators is how many change the membership at once, without knowing of each
// other.
const maxOperators = 2

// operator wants other members, and says so to whoever is in office until the
// membership has changed, by its doing or another's.
type operator struct{ want pushwal.Configuration }

// operate lets operators and the members' gossip do one step.
func (wd *World) operate() {
	r := wd.rng
	n := wd.nodes[r.IntN(len(wd.nodes))]
	switch x := r.IntN(10); {
	case x < 1 && len(wd.operators) < maxOperators:
		wd.newOperator(n)
	case x < 2:
		if n.disk == nil {
			wd.join(n)
		}
	case x < 3:
		if n.up {
			wd.gossip(n, wd.nodes[r.IntN(len(wd.nodes))])
		}
	case x < 4 && len(wd.operators) > 0 && r.IntN(6) == 0:
		wd.stats.count("membership: operator killed", 1)
		wd.operators = slices.Delete(wd.operators, 0, 1)
	case len(wd.operators) > 0:
		o := wd.operators[r.IntN(len(wd.operators))]
		if w := wd.writer(); w != nil && w.election != nil {
			w.step(&consensus.Reconfigure{Config: o.want})
			if w.p.Configuration().Generation > o.want.Generation+1 {
				wd.operators = slices.DeleteFunc(wd.operators, func(p *operator) bool { return p == o })
			}
		}
	}
}

// newOperator asks a node for the membership and wants another: any set of nodes
// that have the timeline, most often one that differs by one node.
func (wd *World) newOperator(n *node) {
	if !n.up {
		return
	}
	c := n.acceptor.State().Configuration
	members := slices.Clone(c.Members)
	if c.Joint() {
		return
	}
	var others []pushwal.Member
	for _, o := range wd.nodes {
		if o.disk == nil {
			continue
		}
		m := pushwal.Member{ID: o.id, Host: "n", Port: 1, Incarnation: o.disk.view().state.Incarnation}
		if i := slices.IndexFunc(members, func(k pushwal.Member) bool { return k.ID == o.id }); i < 0 {
			others = append(others, m)
		} else if members[i] != m {
			members[i] = m // a data directory that was replaced
		}
	}
	pick := func() pushwal.Member { return others[wd.rng.IntN(len(others))] }
	switch wd.rng.IntN(6) {
	case 0, 1:
		if len(others) > 0 {
			members = append(members, pick())
		}
	case 2:
		if len(others) > 0 {
			members[wd.rng.IntN(len(members))] = pick()
		}
	case 3:
		if len(members) > 1 {
			members = slices.Delete(members, 0, 1+wd.rng.IntN(len(members)-1))
		}
	case 4:
		for _, m := range others {
			if wd.rng.IntN(2) == 0 {
				members = append(members, m)
			}
		}
		members = members[wd.rng.IntN(len(members)):]
	}
	wd.stats.count("membership: operator", 1)
	want := pushwal.Configuration{Generation: c.Generation, Members: members}
	wd.operators = append(wd.operators, &operator{want})
	wd.wishes = append(wd.wishes, want)
}

// join makes an empty data directory that is told the membership as some member
// knows it.
func (wd *World) join(n *node) {
	from := wd.nodes[wd.rng.IntN(len(wd.nodes))]
	if !from.up || from.acceptor.Joining() {
		return
	}
	n.life++
	n.wiped = true
	s := wd.founding(n.id)
	s.Configuration = from.acceptor.State().Configuration
	s.Joining, s.Incarnation = true, pushwal.Incarnation{byte(n.id), n.life}
	if at := wd.laterStart(from); at != 0 {
		known := from.acceptor.State()
		s.Start = at
		s.History, s.TLIHistory = consensus.BeginAt(at, known.CommitLSN, from.acceptor.History(), known.TLIHistory)
		s = consensus.Founding(s)
		wd.stats.count("node: joins later than the timeline began", 1)
	}
	n.disk = wd.newDisk(s)
	wd.stats.count("node: joins", 1)
	n.start()
}

// laterStart is where a node begins that joins when WAL was removed: at a record that
// some member knows to be committed. 0 stands for the timeline's beginning.
func (wd *World) laterStart(from *node) wal.LSN {
	commit := from.acceptor.CommitLSN()
	last := commit // no record begins behind it there
	if k := wd.rng.IntN(4); k == 0 {
		return 0
	} else if k == 1 && len(wd.commits) > 0 {
		last = min(last, wd.commits[wd.rng.IntN(len(wd.commits))])
	}
	if last <= wd.start || last%wal.BlockSize == 0 {
		return 0
	}
	return last
}

// gossip lets a node take the membership in force from a peer.
func (wd *World) gossip(n, peer *node) {
	if !peer.up || peer.acceptor.Joining() {
		return
	}
	s := peer.acceptor.State()
	c := s.Configuration
	if wd.cfg.Break.ProposedInForce && s.Proposed.Generation > 0 {
		c = s.Proposed
	}
	if !named(c, n) && !wd.established(c) {
		return // its vote may be needed in the one before
	}
	e, err := n.acceptor.Install(c)
	if err != nil {
		wd.fail("node %d does not take generation %d: %v", n.id, c.Generation, err)
		return
	}
	if e.Save != nil {
		wd.stats.count("membership: learned from a peer", 1)
		n.run(nil, e, false)
	}
}

// lookMembers asks the nodes that are up, as a real proposer would first.
func (wd *World) lookMembers() (wal.Term, pushwal.Configuration) {
	var looks []consensus.Look
	for _, n := range wd.nodes {
		if n.up {
			looks = append(looks, n.look())
		}
	}
	c, counts, _ := consensus.Believe(looks)
	var t wal.Term
	for i, l := range looks {
		if counts[i] {
			t = max(t, l.Term)
		}
	}
	return t, c
}

// inForce notes a configuration that somebody holds to be in force: there is one
// for each generation (S5).
func (wd *World) inForce(c pushwal.Configuration) {
	known, ok := wd.configs[c.Generation]
	if wd.broken(s5, ok && (!slices.Equal(known.Members, c.Members) || !slices.Equal(known.NewMembers, c.NewMembers))) {
		wd.fail("S5: generation %d is in force with %s and with %s", c.Generation, show(known), show(c))
	}
	if !ok {
		wd.configs[c.Generation], wd.newest = c, max(wd.newest, c.Generation)
		wd.committedAt[c.Generation] = base + wal.LSN(len(wd.committed))
		wd.checkFinal(c)
		wd.stats.count("membership: generations in force", 1)
	}
}

// spared says whether a node may lose its data directory without a majority of any
// set having lost theirs: of each configuration from the newest that a majority of
// its own members knows, which is what an operator waits for before anything is
// thrown away, and of the one before, in which a proposer may still be; and of those
// that somebody wished for since, for a proposer may be about to install them.
func (wd *World) spared(n *node) bool {
	oldest := wd.newest
	for oldest > 1 && !wd.established(wd.configs[oldest]) {
		oldest--
	}
	oldest = max(oldest, 2) - 1
	for g := oldest; g <= wd.newest; g++ {
		if c := wd.configs[g]; wd.needs(c.Members, n) || wd.needs(c.NewMembers, n) {
			return false
		}
	}
	return !slices.ContainsFunc(wd.wishes, func(c pushwal.Configuration) bool {
		return c.Generation >= oldest && wd.needs(c.Members, n)
	})
}

// needs says whether a set has no majority left without a node's data directory.
func (wd *World) needs(set []pushwal.Member, n *node) bool {
	lost, hit := 0, 0
	for _, m := range set {
		o := wd.nodes[m.ID-1]
		gone := o.disk == nil || o.disk.view().state.Incarnation != m.Incarnation
		hit += boolInt(o == n && !gone)
		lost += boolInt(gone || o == n)
	}
	return hit > 0 && lost > (len(set)-1)/2
}

// established says whether a majority of each set knows the configuration.
func (wd *World) established(c pushwal.Configuration) bool {
	for _, set := range [][]pushwal.Member{c.Members, c.NewMembers} {
		k := 0
		for _, m := range set {
			n := wd.nodes[m.ID-1]
			k += boolInt(n.disk != nil && n.disk.view().state.Incarnation == m.Incarnation && n.disk.view().state.Configuration.Generation >= c.Generation)
		}
		if 2*k <= len(set) && len(set) > 0 {
			return false
		}
	}
	return true
}

// eligible says whether a node may vote in a configuration in force once it was told
// of it.
func eligible(n *node, c pushwal.Configuration) bool {
	if n.disk == nil {
		return false
	}
	s := n.disk.view().state
	return s.Configuration.Generation <= c.Generation && named(c, n) &&
		(!s.Joining || s.Configuration.Generation < c.Generation && !named(s.Configuration, n))
}

// named says whether a configuration names the data directory that a node has.
func named(c pushwal.Configuration, n *node) bool {
	return slices.ContainsFunc(slices.Concat(c.Members, c.NewMembers), func(m pushwal.Member) bool {
		return m.ID == n.id && m.Incarnation == n.disk.view().state.Incarnation
	})
}

// quorums are the sets of nodes, as bits, that could elect a proposer in a
// configuration.
func (wd *World) quorums(c pushwal.Configuration) (out []int) {
	able := 0
	for i, n := range wd.nodes {
		able |= boolInt(eligible(n, c)) << i
	}
	majority := func(set []pushwal.Member, mask int) bool {
		k := 0
		for _, m := range set {
			n := wd.nodes[m.ID-1]
			k += boolInt(mask>>(m.ID-1)&1 == 1 && n.disk.view().state.Incarnation == m.Incarnation)
		}
		return 2*k > len(set)
	}
	for mask := 1; mask < 1<<len(wd.nodes); mask++ {
		if mask&^able == 0 && majority(c.Members, mask) && (!c.Joint() || majority(c.NewMembers, mask)) {
			out = append(out, mask)
		}
	}
	return out
}

// checkElectable: whichever quorum votes next, in any configuration that somebody
// still knows, its best voter holds everything that was acknowledged (invariant 1);
// and any two such quorums have a node in common.
func (wd *World) checkElectable() {
	var all []int
	for g, c := range wd.configs {
		if wd.knows(g) {
			all = append(all, wd.quorums(c)...)
		}
	}
	slices.Sort(all) // maps have no order, runs have to repeat
	all = slices.Compact(all)
	end := base + wal.LSN(len(wd.committed))
	for i, a := range all {
		for _, b := range all[:i] {
			if wd.broken(quorumsMeet, a&b == 0) {
				wd.fail("two quorums could vote without each other: nodes %b and %b", a, b)
				return
			}
		}
		if best, t := wd.best(a); wd.broken(durability, int(best.flushed-base) < len(wd.committed) || !best.holds(wd.committed)) {
			wd.fail("invariant 1: nodes %b would elect WAL up to %s of term %d; acknowledged was %s", a, best.flushed, t, end)
			return
		}
	}
}

// knows says whether a node or a proposer still knows of a generation in force.
func (wd *World) knows(g pushwal.Generation) bool {
	return slices.ContainsFunc(wd.nodes, func(n *node) bool {
		return n.disk != nil && n.disk.view().state.Configuration.Generation == g
	}) || slices.ContainsFunc(wd.writers, func(w *writer) bool { return w.p.Configuration().Generation == g })
}

// best is the position that a set of nodes would elect.
func (wd *World) best(mask int) (best *model, term wal.Term) {
	for i, n := range wd.nodes {
		if mask>>i&1 == 0 {
			continue
		}
		m := n.disk.view()
		t := lastTerm(cut(m.state.History, max(m.flushed, m.start)))
		if best == nil || t > term || t == term && max(m.flushed, m.start) > max(best.flushed, best.start) {
			best, term = m, t
		}
	}
	return best, term
}

// out says whether a node does not count for a proposer.
func (wd *World) out(n *node, w *writer) bool {
	if wd.cfg.Spares == 0 {
		return n.wiped
	}
	return n.disk == nil || n.acceptor.Joining() || n.acceptor.State().Configuration.Generation != w.p.Configuration().Generation
}

// quorumAgrees is agreed for a membership that changes.
func (wd *World) quorumAgrees(w *writer, h wal.TimelineHistory) bool {
	for _, mask := range wd.quorums(w.p.Configuration()) {
		agree := true
		for i, n := range wd.nodes {
			agree = agree && (mask>>i&1 == 0 || !contradicts(n.acceptor.State().TLIHistory, h))
		}
		if agree {
			return true
		}
	}
	return false
}
