package consensus

import (
	"slices"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// Look is what a peer says of itself without any term being touched
// (TIMELINE_STATUS).
type Look struct {
	Peer        int
	Node        pushwal.NodeID
	Incarnation pushwal.Incarnation
	Joining     bool
	SystemID    wal.SystemID
	PGVersion   uint32
	SegmentSize wal.SegmentSize
	Config      pushwal.Configuration
	Term        wal.Term
	History     pushwal.TermHistory
	TLIHistory  wal.TimelineHistory
	FlushLSN    wal.LSN
	CommitLSN   wal.LSN
	TruncateLSN wal.LSN
}

// Survey is what looks mean for a campaign.
type Survey struct {
	// Quorum says that the looks are those of a quorum. Without it look again:
	// only the fields up to CommitLSN are set.
	Quorum    bool
	Config    pushwal.Configuration // for ProposerConfig.Members; see Believe
	MaxTerm   wal.Term              // for ProposerConfig.MinTerm: of those that count
	CommitLSN wal.LSN               // highest that was seen
	// Proof is what the votes would ask for if nothing moves until then.
	Proof ProofRequest
}

// Evaluate judges looks as the votes of the same peers would be judged. The
// error says why a campaign would be refused. A headless run may leave the
// cluster's parameters zero: the looks must then agree among themselves.
func Evaluate(c ProposerConfig, looks []Look) (Survey, error) {
	var s Survey
	for i := range looks {
		l := &looks[i]
		c.fill(l)
		if err := checkLook(c, l); err != nil {
			return s, err
		}
		s.CommitLSN = max(s.CommitLSN, l.CommitLSN)
	}
	members, counts, err := Believe(looks)
	if s.Config = members; err != nil {
		return s, err
	}
	var bound []pushwal.NodeID
	var ballots []ballot
	for i, l := range looks {
		bound = append(bound, l.Node)
		if !counts[i] {
			continue
		}
		s.MaxTerm = max(s.MaxTerm, l.Term)
		if slices.ContainsFunc(ballots, func(b ballot) bool { return b.node == l.Node }) {
			continue
		}
		ballots = append(ballots, ballot{
			peer: l.Peer, node: l.Node, data: l.Incarnation, flush: l.FlushLSN, truncate: l.TruncateLSN,
			history: cutHistory(l.History, l.FlushLSN), tli: known(l.TLIHistory),
		})
	}
	v := choose(electorateOf(s.Config, c.Peers, bound), ballots, c.own())
	s.Quorum = v.quorum
	if !v.elected {
		if v.quorum {
			return s, v.beyond
		}
		return s, nil
	}
	s.Proof = *proofRequest(s.MaxTerm+1, ballots, v)
	return s, nil
}

// fill takes what a headless run does not know from the first look, so that all
// others must be the same.
func (c *ProposerConfig) fill(l *Look) {
	if !c.Headless {
		return
	}
	if c.SystemID == 0 {
		c.SystemID = l.SystemID
	}
	if c.PGVersion == 0 {
		c.PGVersion = l.PGVersion
	}
	if c.SegmentSize == 0 {
		c.SegmentSize = l.SegmentSize
	}
}

func checkLook(c ProposerConfig, l *Look) error {
	const major = 10000
	foreign := func(format string, args ...any) error { return errf(ErrIdentity, format, args...).node(l.Node) }
	switch {
	case c.SystemID != 0 && l.SystemID != 0 && c.SystemID != l.SystemID:
		return foreign("node %d holds WAL of system identifier %s, this server's is %s", l.Node, l.SystemID, c.SystemID)
	case c.PGVersion/major != l.PGVersion/major:
		return foreign("node %d holds WAL of version %d, this server is version %d", l.Node, l.PGVersion, c.PGVersion)
	case c.SegmentSize != l.SegmentSize:
		return foreign("node %d holds WAL segments of %s, this server's are %s", l.Node, l.SegmentSize, c.SegmentSize)
	case !l.History.Valid():
		return errf(ErrHistory, "node %d has an invalid term history", l.Node).node(l.Node)
	}
	return nil
}
