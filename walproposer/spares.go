package walproposer

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
)

// A quorum needs most of the members, not all of them. Where all run on PostgreSQL's
// own machine, those that a quorum can do without take processors and disk from the
// commit that they are not needed for. Such a spare one gets the WAL of some commits
// at once: with the first write that is spareWait behind what it got last, or with the
// commit position when no WAL follows. Should the others leave WAL uncommitted for
// hedgeAfter, which is looked at as often, everybody is sent all at once until that is
// over. Spare are the slowest: one that is needed and takes slower times as long as one
// that is spare to answer changes places with it.
// With safekeepers on machines of their own all are sent everything at once: there
// the second fastest of three answers earlier than the slower one of two.
const (
	spareWait  = 8 * time.Millisecond
	hedgeAfter = 10 * time.Millisecond
	// hedgeLook is how often it is looked, at the most, whether the trouble is over.
	hedgeLook = 160 * time.Millisecond
	// slower is well above what a safekeeper's own backlog makes of one time: a spare
	// one has none.
	slower = 3
)

// lineup is who is needed and who is spare. It holds no clock and does no I/O.
type lineup struct {
	// members are those in force, none while they change.
	members []pushwal.NodeID
	// here is who keeps up and runs on this machine: first who is needed.
	here []comer
}

// comer is a peer, and the node behind it if that is a member that counts: one that
// lost its disk answers, too.
type comer struct {
	peer int
	node pushwal.NodeID
}

// order is the members that are here, and how many of them are needed: all unless
// each member is.
func (l *lineup) order() (members []comer, needed int) {
	for _, c := range l.here {
		same := func(o comer) bool { return o.node == c.node }
		if slices.Contains(l.members, c.node) && !slices.ContainsFunc(members, same) {
			members = append(members, c)
		}
	}
	if len(l.members) == 0 || len(members) != len(l.members) {
		return members, len(members)
	}
	return members, len(l.members)/2 + 1
}

// spare are the peers that can be done without.
func (l *lineup) spare() (peers []int) {
	members, needed := l.order()
	for _, c := range members[needed:] {
		peers = append(peers, c.peer)
	}
	return peers
}

func (l *lineup) comes(c comer) {
	l.leaves(c.peer)
	l.here = append(l.here, c)
}

func (l *lineup) leaves(peer int) {
	l.here = slices.DeleteFunc(l.here, func(c comer) bool { return c.peer == peer })
}

// change has the slowest that is needed change places with the fastest spare one, if
// it takes slower times as long to answer. A spare one's time of 0 is not known.
func (l *lineup) change(neededTakes, spareTakes func(peer int) time.Duration) (changed bool) {
	members, needed := l.order()
	var fast comer
	var least time.Duration
	for _, c := range members[needed:] {
		if t := spareTakes(c.peer); t > 0 && (least == 0 || t < least) {
			fast, least = c, t
		}
	}
	if least == 0 {
		return false
	}
	slow := slices.MaxFunc(members[:needed], func(a, b comer) int { return cmp.Compare(neededTakes(a.peer), neededTakes(b.peer)) })
	if neededTakes(slow.peer) < slower*least {
		return false
	}
	i, j := slices.Index(l.here, slow), slices.Index(l.here, fast)
	l.here[i], l.here[j] = l.here[j], l.here[i]
	return true
}

// spares keeps WAL back from spare members, and watches over the others.
type spares struct {
	// oldest is how long WAL has waited for a quorum; voter is the member that counts
	// behind a peer, and isLive says whether it has answered lately.
	oldest  func() time.Duration
	voter   func(peer int) pushwal.NodeID
	isLive  func(peer int) bool
	metrics *metrics

	wait [maxPeers]atomic.Bool // by peer: it may wait
	// kept says that WAL was kept back since the watch looked last, watched that it
	// will look again; kick has a token for it when it has to begin.
	kept, watched atomic.Bool
	kick          chan struct{}

	mu         sync.Mutex
	generation pushwal.Generation
	lineup     lineup
	conns      [maxPeers]spareConn // of those here
	before     bool                // kept, as of the looks before, and perhaps still waited for
	hedging    bool
	ended      bool
	owed       [maxPeers]bool // by peer: it waited when that ended, and answers
}

// spareConn is a connection that keeps up.
type spareConn struct {
	hurry chan<- struct{}      // rung when what was kept back has to be sent
	trip  func() time.Duration // until it answers, of late
	waits func() time.Duration // for the answer to come
}

func newSpares(d *replication.Proposing, a *attendance, m *metrics) *spares {
	return &spares{
		oldest: d.OldestUncommitted, voter: d.VoterOf, isLive: a.isLive, metrics: m, kick: make(chan struct{}, 1),
	}
}

// mayWait says whether a peer may get later what it would be sent now. It was sent
// something last at that time.
func (s *spares) mayWait(peer int, last time.Time) bool {
	if !s.wait[peer].Load() || time.Since(last) >= spareWait {
		return false
	}
	if !s.kept.Load() {
		s.kept.Store(true)
	}
	if !s.watched.Load() && s.watched.CompareAndSwap(false, true) {
		ringOnce(s.kick)
	}
	return true
}

// comes takes a peer that keeps up and runs here.
func (s *spares) comes(peer int, c spareConn) {
	voter := s.voter(peer)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[peer] = c
	s.lineup.comes(comer{peer, voter})
	s.assign()
}

// leaves takes that a peer's connection is gone, if it is that one.
func (s *spares) leaves(peer int, hurry chan<- struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if hurry != nil && s.conns[peer].hurry == hurry {
		s.conns[peer] = spareConn{}
		s.lineup.leaves(peer)
		s.assign()
	}
}

// follow takes the membership in force.
func (s *spares) follow(c pushwal.Configuration) {
	var members []pushwal.NodeID
	if !c.Joint() {
		for _, m := range c.Members {
			members = append(members, m.ID)
		}
	}
	var voters [maxPeers]pushwal.NodeID
	for p := range voters {
		voters[p] = s.voter(p)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.Generation < s.generation {
		return // Somebody was quicker with news.
	}
	for i, c := range s.lineup.here {
		s.lineup.here[i].node = voters[c.peer]
	}
	s.generation, s.lineup.members = c.Generation, members
	s.assign()
}

// end has nobody wait any more.
func (s *spares) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.ended = true
	for p := range s.owed {
		s.owed[p] = s.wait[p].Load() && s.isLive(p)
	}
	s.assign()
}

// wasOwed says whether a peer that answers may have lacked what was kept back for it
// when that ended.
func (s *spares) wasOwed(peer int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owed[peer]
}

// assign tells who may wait. Who may no more is sent what was kept back. Under mu.
func (s *spares) assign() {
	var spare []int
	if !s.hedging && !s.ended {
		spare = s.lineup.spare()
	}
	s.metrics.spares.Set(float64(len(spare)))
	for p := range s.wait {
		may := slices.Contains(spare, p)
		if was := s.wait[p].Swap(may); was && !may && s.conns[p].hurry != nil {
			ringOnce(s.conns[p].hurry)
		}
	}
}

// watch looks after the needed ones while WAL is kept back from others.
func (s *spares) watch(ctx context.Context) error {
	next := time.NewTimer(time.Hour)
	defer next.Stop()
	pause := hedgeAfter
	for {
		select {
		case <-s.kick:
			next.Reset(hedgeAfter)
		case <-next.C:
			if pause = s.look(pause); pause > 0 {
				next.Reset(pause)
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// look returns when to look again, having returned last before; 0 is once WAL is kept
// back.
func (s *spares) look(last time.Duration) time.Duration {
	kept := s.kept.Swap(false)
	waits := s.oldest()
	s.mu.Lock()
	defer s.mu.Unlock()
	late := waits >= hedgeAfter
	lately := kept || s.before
	s.before = kept || s.before && waits > 0 && !late
	switch {
	case s.hedging && late:
		return min(2*last, hedgeLook)
	case s.hedging:
		s.hedging = false
		s.assign()
		return hedgeAfter
	case late && lately: // Else nobody waits for WAL that was kept back.
		s.hedge()
		return hedgeAfter
	case kept || waits > 0:
		if s.lineup.change(s.trip, s.takes) {
			s.assign()
		}
		return hedgeAfter
	}
	s.watched.Store(false)
	if s.kept.Load() && s.watched.CompareAndSwap(false, true) {
		return hedgeAfter // It was kept back in between, by who took the watch to go on.
	}
	return 0
}

// hedge sends all to everybody, and has who keeps the quorum waiting be the spare one
// when that is over. Under mu.
func (s *spares) hedge() {
	if len(s.lineup.spare()) > 0 {
		s.metrics.hedges.Inc()
	}
	s.hedging = true
	s.assign()
	s.lineup.change(s.takes, s.takes)
}

// trip is how long a peer's answers took of late: for one that is needed, whose answer
// may be late for once.
func (s *spares) trip(peer int) time.Duration { return s.conns[peer].trip() }

// takes is that or, where it is longer, how long its answer is due: one that hangs does
// not pass for fast.
func (s *spares) takes(peer int) time.Duration { return max(s.trip(peer), s.conns[peer].waits()) }
