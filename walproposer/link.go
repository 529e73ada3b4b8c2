package walproposer

import (
	"context"
	"fmt"
	"time"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
)

// director is the proposer as a push worker sees it: in the same process (term),
// or at the other end of a socket pair. Workers decide nothing.
type director interface {
	// connect makes a new connection to the safekeeper known; an older one of it
	// ends.
	connect(peer int) (link, error)
	// positions are the newest ones known.
	positions() positions
	// donor is the peer that WAL from before this term can be fetched from, and
	// how far it has this term's.
	donor() (peer int, upto wal.LSN, ok bool)
	// quorum says whether enough safekeepers stream to commit.
	quorum() bool
	// found makes the timeline on a member that lacks it.
	found(ctx context.Context, peer int) error
	// stuck says that a peer cannot be filled and why, and with "" that it has
	// caught up.
	stuck(peer int, reason string)
	// suspect says that the memory of the queue may be damaged.
	suspect()
	// starve says that nobody gives a peer the WAL that it goes on with. Should it be
	// needed for a quorum, the term ends.
	starve(peer int)
}

// positions are what each AppendRequest carries besides WAL.
type positions struct {
	commit, truncate wal.LSN
}

// waits are what ends a wait for the proposer besides it.
type waits struct {
	published, revoked <-chan struct{} // of the queue; nil before there is a consumer
	hurry              <-chan struct{} // by spares; nil but in the tap
	tick               <-chan time.Time
}

// link is one connection to a safekeeper as the proposer sees it. The owner of
// the connection calls received from one goroutine; take, wait, offer and rest
// from another.
type link interface {
	// take returns what there is to send. The error says why the connection has
	// to be closed.
	take() (pushWork, error)
	// wait returns when there may be something to send, and now and then in any
	// case; an error is the end of ctx.
	wait(ctx context.Context, w waits) error
	// offer says that the connection keeps up and may be given to the tap.
	offer()
	// rest says that the next wait may be a while off.
	rest()
	// received takes a message of the safekeeper, which is not kept. An error ends
	// the connection.
	received(payload []byte) error
	// close says that the connection is gone.
	close()
}

// pushWork is what a connection has to send now, in this order.
type pushWork struct {
	messages [][]byte // of the proposer, encoded
	// start is set once: AppendRequests begin there. At least one is sent at once,
	// possibly empty.
	start *streamStart
	// announce says that the commit position has to go out now, if no AppendRequest
	// has carried it.
	announce bool
	// give says that the connection is to be given to the tap, once messages are
	// sent.
	give bool
}

// streamStart is all that sending WAL rests on.
type streamStart struct {
	at         wal.LSN
	term       wal.Term
	generation pushwal.Generation
	history    wal.TimelineHistory // of PostgreSQL
}

// bound is where an AppendRequest that begins at l must end at the latest: the
// next switch of timelines, or 0.
func (s *streamStart) bound(l wal.LSN) wal.LSN {
	for _, a := range s.history.Ancestors {
		if l < a.Switch {
			return a.Switch
		}
	}
	return 0
}

// localLink is a connection of the proposer in this process.
type localLink struct {
	t       *term
	peer    int
	l       *replication.Link
	greeted bool // our greeting was handed out
	// resume is where a connection that a worker gives goes on, handed out once.
	resume *streamStart
	woken  <-chan struct{} // there may be something to send

	// Of the receiving goroutine.
	codec    pushwal.Codec
	greeting pushwal.AcceptorGreeting
	vote     pushwal.VoteResponse
	response pushwal.AppendResponse
}

// wireCodec is the form of START_WAL_PUSH between our own programs.
var wireCodec = pushwal.Codec{Version: pushwal.Version3, Walhaven: true}

func (t *term) connect(peer int) (link, error) { return t.open(peer), nil }

func (t *term) open(peer int) *localLink {
	l := t.d.Connect(peer)
	return &localLink{t: t, peer: peer, l: l, codec: wireCodec, woken: l.Wake()}
}

func (l *localLink) wait(ctx context.Context, w waits) error {
	select {
	case <-l.woken:
	case <-w.published:
	case <-w.revoked:
	case <-w.hurry:
	case <-w.tick:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

func (l *localLink) offer() {}

func (l *localLink) rest() {}

func (l *localLink) close() {
	l.t.attendance.leaves(l.peer)
	l.t.parting.look()
	l.l.Close()
}

func (l *localLink) take() (w pushWork, err error) {
	if !l.greeted {
		l.greeted = true
		w.messages = append(w.messages, wireCodec.AppendProposerGreeting(nil, l.l.Greeting()))
	}
	from, err := l.l.Take()
	if err != nil {
		return w, err
	}
	for _, m := range from.Messages {
		b, err := encodeMessage(m)
		if err != nil {
			return w, err
		}
		w.messages = append(w.messages, b)
	}
	w.announce = from.Announce
	if from.Start != nil {
		w.start = l.start(from.Start)
	}
	if l.resume != nil {
		w.start, l.resume = l.resume, nil
	}
	return w, nil
}

// start completes what the consensus says about a beginning.
func (l *localLink) start(s *consensus.StreamStart) *streamStart {
	e := l.t.d.Election()
	l.t.attendance.comes(l.peer)
	return &streamStart{at: s.At, term: e.Term, generation: l.t.d.Configuration().Generation, history: e.TLIHistory}
}

func encodeMessage(m pushwal.ProposerMessage) ([]byte, error) {
	switch m := m.(type) {
	case *pushwal.ProposerGreeting:
		return wireCodec.AppendProposerGreeting(nil, m), nil
	case *pushwal.VoteRequest:
		return wireCodec.AppendVoteRequest(nil, m), nil
	case *pushwal.ProposerElected:
		return wireCodec.AppendProposerElected(nil, m), nil
	case *pushwal.ConfigurationRequest:
		return wireCodec.AppendConfigurationRequest(nil, m), nil
	}
	return nil, fmt.Errorf("message %T is not the proposer's to send", m)
}

func (l *localLink) received(payload []byte) error {
	switch pushwal.Kind(payload) {
	case pushwal.KindGreeting:
		l.greeting = pushwal.AcceptorGreeting{}
		if err := wireCodec.DecodeAcceptorGreeting(payload, &l.greeting); err != nil {
			return err
		}
		if l.greeting.Options == nil {
			return fmt.Errorf("node %d does not speak walhaven's form of START_WAL_PUSH: %w", l.greeting.NodeID, consensus.ErrNegotiation)
		}
		l.codec = l.codec.Negotiated(l.greeting.Options.Walhaven)
		return l.l.Greeted(&l.greeting)
	case pushwal.KindVote:
		l.vote = pushwal.VoteResponse{}
		if err := wireCodec.DecodeVoteResponse(payload, &l.vote); err != nil {
			return err
		}
		return l.l.Voted(&l.vote)
	case pushwal.KindAppend:
		if err := l.codec.DecodeAppendResponse(payload, &l.response); err != nil {
			return err
		}
		l.t.attendance.answers(l.peer)
		if err := l.l.Appended(&l.response); err != nil {
			return err
		}
		l.t.told[l.peer].answered(l.response.FlushLSN, l.t.d.CommitLSN())
		l.t.parting.look()
		if f := l.response.Pageserver; f != nil && l.t.ingested != nil {
			l.t.ingested(f.LastReceivedLSN)
		}
		return nil
	}
	return l.membership(payload)
}
