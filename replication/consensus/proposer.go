package consensus

import (
	"slices"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// ProposerConfig is what a proposer knows before it talks to anyone.
type ProposerConfig struct {
	ID          wal.TTID
	SystemID    wal.SystemID // 0 for a headless run that does not know it
	PGVersion   uint32       // PG_VERSION_NUM
	SegmentSize wal.SegmentSize
	TLIHistory  wal.TimelineHistory // the own PostgreSQL's; a headless run takes the donor's
	Instance    pushwal.Instance    // not zero: acceptors know a proposer of ours by it
	// Peers is how many peers there are; events name them by index.
	Peers int
	// MinTerm is the highest term that looking found; the campaign is for one above.
	// A node that greets with a higher one ends the proposer with ErrHigherTerm
	// before any vote is asked for: look again.
	MinTerm wal.Term
	// Members is the membership that looking found. Who knows another one of that
	// generation is no party to the campaign. Empty: whoever greets first is
	// believed.
	Members pushwal.Configuration
	// Headless proposes nothing of its own: no proof, no WAL. It makes the
	// quorum hold and commit what its best voter has.
	Headless bool
	// Back is the generation of a joint configuration that is to be left for its old
	// members, 0 for none: an operator takes the change back. See Reconfigure.
	Back pushwal.Generation
}

// phase is how far a proposer has come; it only goes forward.
type phase uint8

const (
	collecting  phase = iota // greetings, until a quorum has greeted
	campaigning              // votes, until a quorum has voted
	proving                  // the driver compares WAL
	leading                  // elected
	ended                    // Fatal was said
)

// Proposer is one campaign and, when elected, one term. A new connection to
// PostgreSQL needs a new Proposer. Not safe for concurrent use.
//
// Invariants:
//  1. ProposerElected is sent in phase leading only, which a proof precedes
//     unless the run is headless.
//  2. commit is 0 or at least start, and a quorum of voters in this term, which
//     have cut their WAL to this proposer's, holds it durably.
//  3. truncate <= max(commit, start); neither it nor commit falls.
type Proposer struct {
	c     ProposerConfig
	phase phase
	conf  pushwal.Configuration
	peers []peer
	nodes map[pushwal.NodeID]*node
	el    electorate // by conf and, without one, by the nodes behind the peers

	term     wal.Term
	outdated bool // a node names itself in a newer membership than any that the look found
	patience int  // ticks left to wait for votes that would still elect

	start     wal.LSN
	history   pushwal.TermHistory
	tli       wal.TimelineHistory
	donor     ballot
	votes     []ballot // that the election counts on
	available wal.LSN
	commit    wal.LSN
	held      wal.LSN // see ProposerEffects.Held
	truncate  wal.LSN
	synced    bool

	// Of a change of the membership, see reconfigure.
	target   *pushwal.Configuration // wanted: the members to have behind generation Generation
	caught   wal.LSN                // where its new members have to be before anything changes
	pending  *pushwal.Configuration // accepted in an earlier term: has to be proposed before any other
	proposal pushwal.Configuration  // proposed in this term; Generation 0 = none
	back     pushwal.Generation     // of a joint configuration that is left for its old members
	reach    wal.LSN                // in a joint configuration: what both sets must hold before it ends
	reached  wal.LSN                // what a quorum of the configuration in force holds, by its own count
}

// tickPatience is how many ticks a proposer waits for the votes of further nodes
// when some of those it has, or lacks, stand in its way.
const tickPatience = 5

// peer is an entry of the proposer's list and its newest connection.
type peer struct {
	node       *node          // of the newest greeting, kept when disconnected
	met        pushwal.NodeID // who has greeted last, whether that was taken or not
	connected  bool           // has greeted
	generation pushwal.Generation
	options    bool     // ours were negotiated
	revision   uint32   // of them
	begins     wal.LSN  // where its WAL begins later than the timeline and it lacks what lies in front; else 0
	asked      wal.Term // term of the VoteRequest that has no answer yet, 0 = none
	position   *ballot  // of the last answer
	streaming  bool     // ProposerElected was sent
	starves    bool     // see Starve
}

// node is a safekeeper, whatever connection it is reached by.
type node struct {
	id          pushwal.NodeID
	incarnation pushwal.Incarnation
	lost        bool    // came back without its data, or is joining: never counts
	counts      bool    // not lost, and of the incarnation that the membership means
	vote        *ballot // given in the current term
	asked       bool    // for its vote in the current term, without an answer yet
	refused     bool    // gave its vote of the current term away,
	ownVote     bool    // to an earlier connection of this proposer, it seems
	flush       wal.LSN // acknowledged in the current term, 0 = nothing yet
	durable     wal.LSN // the same with a record that is not whole yet
	persisted   wal.LSN // commit position that it has made durable
	accepted    bool    // the proposal of this term
	knows       pushwal.Generation
	left        pushwal.Configuration // proposed in an earlier term, and accepted by it
}

// own is the PostgreSQL history that votes are judged by, nil for a headless
// run, which has none.
func (c *ProposerConfig) own() *wal.TimelineHistory {
	if c.Headless {
		return nil
	}
	return &c.TLIHistory
}

// NewProposer returns a proposer that waits for greetings.
func NewProposer(c ProposerConfig) *Proposer {
	return &Proposer{
		c: c, conf: c.Members, patience: tickPatience, back: c.Back,
		peers: make([]peer, c.Peers), nodes: make(map[pushwal.NodeID]*node),
	}
}

// Greeting is what to send first on a connection to a peer. Unlike Neon's it carries
// the configuration that this proposer knows to be in force, for acceptors that do
// not. Who is no member any more hears of it last: its vote may still be needed in
// the one before until a majority of each set knows the one that came. Until then
// who was not met may be one of those.
func (p *Proposer) Greeting(peer int) *pushwal.ProposerGreeting {
	conf := p.conf
	if p.valid(peer) && !legacy(conf) && len(membersOf(conf, p.peers[peer].met)) == 0 && !p.established() {
		conf = pushwal.Configuration{}
	}
	return &pushwal.ProposerGreeting{
		Config: conf,
		TTID:   p.c.ID, PGVersion: p.c.PGVersion, SystemID: p.c.SystemID, SegmentSize: p.c.SegmentSize,
		TLI: known(p.c.TLIHistory).Last, Instance: p.c.Instance,
	}
}

// Step handles an event. An error, always an *Error, is about the peer of the
// event alone: close its connection, connect again later; Disconnected need not
// follow. What ends the whole proposer is ProposerEffects.Fatal.
func (p *Proposer) Step(ev Event) (ProposerEffects, error) {
	var e ProposerEffects
	if p.phase == ended {
		return e, errf(ErrStopped, "the proposer of term %d has ended", p.term)
	}
	i, err := -1, error(nil)
	switch ev := ev.(type) {
	case *Greeted:
		if i = ev.Peer; p.valid(i) && ev.Greeting != nil {
			err = p.greeted(&e, i, ev.Greeting)
		}
	case *Voted:
		if i = ev.Peer; p.valid(i) && ev.Response != nil {
			err = p.voted(&e, i, ev.Response)
		}
	case *Appended:
		if i = ev.Peer; p.valid(i) && ev.Response != nil {
			err = p.appended(&e, i, ev.Response)
		}
	case *Configured:
		if i = ev.Peer; p.valid(i) && ev.Response != nil {
			err = p.configured(&e, i, ev.Response)
		}
	case *Disconnected:
		if p.valid(ev.Peer) {
			p.disconnect(ev.Peer)
		}
	case *Reconfigure:
		p.want(&e, ev.Config)
	case *Proved:
		p.proved(&e, ev)
	case *Available:
		p.available = max(p.available, ev.End)
	case *Tick:
		p.tick(&e)
	}
	if err == nil && e.Fatal == nil && p.phase == leading {
		p.reconfigure(&e)
	}
	if e.Fatal != nil {
		p.phase = ended
		return ProposerEffects{Fatal: e.Fatal}, nil
	}
	if err != nil {
		p.disconnect(i)
		return ProposerEffects{}, err
	}
	return e, nil
}

func (p *Proposer) valid(peer int) bool { return peer >= 0 && peer < len(p.peers) }

// disconnect forgets a connection. The node's vote and acknowledgements stay:
// they are on its disk.
func (p *Proposer) disconnect(i int) {
	n := p.peers[i].node
	if n != nil {
		n.durable = n.flush // It will be cut back to a whole record.
	}
	p.peers[i] = peer{node: n, met: p.peers[i].met}
}

// count recomputes who votes and counts, after the membership or a peer's node
// changed.
func (p *Proposer) count() {
	var bound []pushwal.NodeID
	for i := range p.peers {
		if n := p.peers[i].node; n != nil && !slices.Contains(bound, n.id) {
			bound = append(bound, n.id)
		}
	}
	p.el = electorateOf(p.conf, len(p.peers), bound)
	for id, n := range p.nodes {
		n.counts = !n.lost && !lostData(p.conf, id, n.incarnation)
	}
}

// counts says whether what the node of a member's entry says counts.
func (p *Proposer) counts(m pushwal.Member) bool {
	n := p.nodes[m.ID]
	return n != nil && n.counts && means(m, n.incarnation)
}

// voter says whether a node is a member that counts.
func (p *Proposer) voter(n *node) bool { return n.counts && p.el.has(n.id) }

// CommitLSN is the newest committed position, 0 before the first.
func (p *Proposer) CommitLSN() wal.LSN { return p.commit }

// TruncateLSN is the position below which all members hold everything.
func (p *Proposer) TruncateLSN() wal.LSN { return p.truncate }

// Term is the term that is campaigned for or won, 0 before the campaign.
func (p *Proposer) Term() wal.Term { return p.term }

// established says whether a majority of each set has said that it knows the
// configuration in force.
func (p *Proposer) established() bool {
	return p.el.quorum(func(m pushwal.Member) bool { return p.counts(m) && p.nodes[m.ID].knows == p.conf.Generation })
}

// AddPeer adds one more peer to the list and returns its index.
func (p *Proposer) AddPeer() int {
	p.peers = append(p.peers, peer{})
	p.count()
	return len(p.peers) - 1
}

// NodeOf is the node that was last met behind a peer, 0 = none yet.
func (p *Proposer) NodeOf(peer int) pushwal.NodeID {
	if !p.valid(peer) || p.peers[peer].node == nil {
		return 0
	}
	return p.peers[peer].node.id
}

// VoterOf is NodeOf for a peer whose node is a member that counts, 0 for others.
func (p *Proposer) VoterOf(peer int) pushwal.NodeID {
	if !p.valid(peer) || p.peers[peer].node == nil || !p.voter(p.peers[peer].node) {
		return 0
	}
	return p.peers[peer].node.id
}

// Configuration is the membership that was learnt, empty until then.
func (p *Proposer) Configuration() pushwal.Configuration { return p.conf }
