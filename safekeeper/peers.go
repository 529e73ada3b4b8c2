package safekeeper

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/walhaven/walhaven/internal/pause"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/consensus"
)

const (
	// writerQuiet is how long no writer must have been heard before the peers
	// are asked: a writer brings everything that they could.
	writerQuiet = 2 * time.Second
	// peersEvery is how often they are asked then, and peersSettled how often
	// once all of them said the same as this node knows.
	peersEvery   = time.Second
	peersSettled = 5 * time.Second
	// peerTimeout bounds one question.
	peerTimeout = 2 * time.Second
)

// errUnknownThere says that a peer has no such timeline.
var errUnknownThere = errors.New("the timeline does not exist there")

// peer is what is known of another member.
type peer struct {
	member pushwal.Member
	status replication.Status // of the last answer; zero if there was none
	at     time.Time          // when that was
	err    error              // why the last question had none
}

// peerTable holds the last answers of a timeline's other members.
type peerTable struct {
	mu    sync.Mutex
	peers map[pushwal.NodeID]peer
}

func newPeerTable() *peerTable { return &peerTable{peers: map[pushwal.NodeID]peer{}} }

func (p *peerTable) set(answers []peer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.peers
	p.peers = make(map[pushwal.NodeID]peer, len(answers))
	for _, a := range answers {
		if a.err != nil {
			a.status, a.at = known[a.member.ID].status, known[a.member.ID].at
		}
		p.peers[a.member.ID] = a
	}
}

func (p *peerTable) list() []peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []peer
	for _, v := range p.peers {
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b peer) int { return cmp.Compare(a.member.ID, b.member.ID) })
	return out
}

// watchPeers asks the other members while no writer is heard, so that a commit
// position known to one becomes known to all, and takes over the committed WAL
// that this node lacks.
func (s *Server) watchPeers(ctx context.Context, t *timeline) {
	wait := peersEvery
	settling := &settler{s: s, t: t}
	for {
		if pause.For(ctx, wait) != nil {
			return
		}
		wait = peersEvery
		own := t.accepting.Status()
		if own.WriterAge >= 0 && own.WriterAge < writerQuiet {
			continue
		}
		answers, settled := s.askPeers(ctx, t, own)
		if settled {
			wait = peersSettled
			continue
		}
		// A proposer may have come while the others were asked.
		settling.consider(ctx, t.accepting.Status(), answers)
	}
}

// askPeers is one round; settled says that nobody knows more than anybody else,
// and that nothing is left to be known.
func (s *Server) askPeers(ctx context.Context, t *timeline, own replication.Status) (answers []peer, settled bool) {
	members := otherMembers(own)
	all := s.queryPeers(ctx, t, append(members, comingMembers(own)...))
	if err := learnMembers(t, own, all); err != nil {
		t.logger.Warn("take the membership from peers", "err", err)
	}
	answers = all[:len(members)]
	t.peers.set(answers)
	settled = own.CommitLSN == own.FlushLSN
	var best consensus.Lesson
	var donor pushwal.Member
	for _, a := range answers {
		settled = settled && a.err == nil && a.status.CommitLSN == own.CommitLSN && a.status.FlushLSN == own.FlushLSN
		if a.err != nil {
			continue
		}
		if l, ok := consensus.Learn(own.Look(0), a.status.Look(0)); ok && l.Commit > best.Commit {
			best, donor = l, a.member
		}
	}
	if best.Commit == 0 {
		return answers, settled
	}
	if err := s.catchUp(ctx, t, donor, best); err != nil {
		s.metrics.failed.Inc()
		t.logger.Warn("catch up from peer", "peer", donor.ID, "from", best.Start, "upto", best.Upto, "err", err)
		return answers, false
	}
	t.logger.Info("caught up from peer", "peer", donor.ID, "commit_lsn", t.accepting.CommitLSN())
	return answers, false
}

// otherMembers are the members of both sets without this node, each once.
func otherMembers(own replication.Status) []pushwal.Member {
	var out []pushwal.Member
	for _, m := range own.Configuration.All() {
		if m.ID != own.NodeID && !slices.ContainsFunc(out, func(o pushwal.Member) bool { return o.ID == m.ID }) {
			out = append(out, m)
		}
	}
	return out
}

// queryPeers asks all members at once.
func (s *Server) queryPeers(ctx context.Context, t *timeline, members []pushwal.Member) []peer {
	answers := make([]peer, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		wg.Go(func() {
			status, err := s.queryPeer(ctx, t, m)
			answers[i] = peer{member: m, status: status, at: time.Now(), err: err}
		})
	}
	wg.Wait()
	return answers
}

func (s *Server) queryPeer(ctx context.Context, t *timeline, m pushwal.Member) (replication.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	conninfo, err := s.o.Config.Peer.Conninfo(memberAddress(m))
	if err != nil {
		return replication.Status{}, err
	}
	rows, err := replication.Query(ctx, conninfo, "TIMELINE_STATUS", s.dialOptions(t.id))
	if err != nil {
		return replication.Status{}, err
	}
	if len(rows) == 0 {
		return replication.Status{}, errUnknownThere
	}
	status, err := replication.ParseStatus(rows[0])
	if err == nil && status.NodeID != m.ID {
		err = errors.New("another node answers at this address")
	}
	if err == nil && !m.Incarnation.IsZero() && status.Incarnation != m.Incarnation {
		err = errors.New("its data directory is not the member's")
	}
	return status, err
}
