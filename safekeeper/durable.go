package safekeeper

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/admin"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
)

// maxDurableWait bounds how long a receipt is waited for.
const maxDurableWait = 10 * time.Minute

// flushedColumns are what one member says of a position.
var flushedColumns = []string{"flush_lsn", "flushed_at"}

// receiptColumns are those of a receipt, a row a member. durable, term and
// commit_lsn are the same in each: what a majority said.
func receiptColumns() []admin.Column {
	return []admin.Column{
		{Name: "lsn"},
		{Name: "durable", Type: admin.TypeBool, Help: "A majority holds it on disk, and it is committed."},
		{Name: "term", Type: admin.TypeInt8, Help: "Term of the proposer that wrote it."},
		{Name: "commit_lsn"},
		{Name: "node_id", Type: admin.TypeInt8},
		{Name: "address"},
		{Name: "holds", Type: admin.TypeBool, Help: "This member holds it on disk."},
		{Name: "flush_lsn"},
		{Name: "flushed_at", Help: "When it had it at the latest; NULL when that was before its start or long ago."},
		{Name: "error"},
	}
}

// durableCommands are those that give receipts.
func (s *Server) durableCommands() []admin.Command {
	lsn := admin.Arg{Name: "lsn", Kind: admin.KindLSN, Help: "Position behind the last byte, as pg_current_wal_insert_lsn() answers after a commit."}
	wait := admin.Arg{Name: "wait", Optional: true, Help: "How long to wait for it, such as 2s; not at all by default."}
	timeout := wait
	timeout.Keyword = "TIMEOUT"
	help := "Whether WAL up to a position is durable on a majority: which members hold it, since when, and the term that wrote it."
	return []admin.Command{
		{Name: "DURABLE", Args: []admin.Arg{lsn, wait}, Columns: receiptColumns(), Scope: admin.ScopeTimeline, Help: help, Handler: s.onTimeline(s.durable)},
		{Name: "WAIT FOR LSN", Args: []admin.Arg{lsn, timeout}, Columns: receiptColumns(), Scope: admin.ScopeTimeline, Tag: "WAIT", Help: help, Handler: s.onTimeline(s.durable)},
		{
			Name: "FLUSHED", Args: []admin.Arg{lsn}, Columns: admin.Text(flushedColumns...), Scope: admin.ScopeTimeline,
			Help: "How far WAL is durable on this member, and when it came to have a position, at the latest.",
			Handler: s.onTimeline(func(_ context.Context, t *timeline, call *admin.Call, emit admin.Emit) error {
				at, err := wal.ParseLSN(call.Args["lsn"])
				if err != nil {
					return err
				}
				return emit(t.accepting.FlushLSN(), flushedAt(t, at))
			}),
		},
	}
}

// flushedAt is when a position became durable here, nil when that is not known.
func flushedAt(t *timeline, l wal.LSN) any {
	if at, ok := t.accepting.FlushedAt(l); ok {
		return at.UTC().Format(time.RFC3339Nano)
	}
	return nil
}

// durable answers with a receipt; without the position being durable, once the
// time is over.
func (s *Server) durable(ctx context.Context, t *timeline, call *admin.Call, emit admin.Emit) error {
	at, err := wal.ParseLSN(call.Args["lsn"])
	if err != nil {
		return err
	}
	wait := time.Duration(0)
	if text := call.Args["wait"]; text != "" {
		if wait, err = time.ParseDuration(text); err != nil || wait < 0 || wait > maxDurableWait {
			return protocol.Errorf(protocol.CodeInvalidParameter, "%q is not a time to wait: give one like 2s, at most %s", text, maxDurableWait)
		}
	}
	r, err := s.receipt(ctx, t, at)
	if wait > 0 && (err != nil || !r.durable) {
		until, cancel := context.WithTimeout(ctx, wait)
		r, err = s.awaitReceipt(until, t, at)
		cancel()
	}
	if err != nil {
		return err
	}
	return r.emit(emit)
}

// receiptEvery is how often the members are asked again: this one may be the last
// to hear of a commit.
const receiptEvery = 200 * time.Millisecond

// awaitReceipt asks again as the commit position here moves, and now and then.
func (s *Server) awaitReceipt(ctx context.Context, t *timeline, at wal.LSN) (r receipt, err error) {
	for {
		next, cancel := context.WithTimeout(ctx, receiptEvery)
		_, known := t.accepting.WaitCommit(next, at-1)
		// The last question is asked even when the time is over.
		r, err = s.receipt(context.WithoutCancel(ctx), t, at)
		if ctx.Err() != nil || (err == nil && r.durable) {
			cancel()
			return r, err
		}
		if known == nil {
			<-next.Done() // It is the others who have to say more.
		}
		cancel()
	}
}

// holding is what one member says of a position.
type holding struct {
	member pushwal.Member
	status replication.Status
	at     any // when it had it, nil = unknown
	err    error
}

// receipt is what a majority says of a position.
type receipt struct {
	lsn     wal.LSN
	commit  wal.LSN
	term    wal.Term
	durable bool
	members []holding
}

// receipt asks every member once. It fails when less than a majority answers.
func (s *Server) receipt(ctx context.Context, t *timeline, at wal.LSN) (receipt, error) {
	own := t.accepting.Status()
	r := receipt{lsn: at, members: []holding{{member: selfOf(own), status: own, at: flushedAt(t, at)}}}
	if own.Joining {
		r.members[0].err = errJoining
	}
	others := otherMembers(own)
	answers := make([]holding, len(others))
	var wg sync.WaitGroup
	for i, m := range others {
		wg.Go(func() { answers[i] = s.askHolding(ctx, t, m, at) })
	}
	wg.Wait()
	r.members = append(r.members, answers...)
	return r, r.judge(own.Configuration)
}

var errJoining = errors.New("it is joining and does not count")

// selfOf is this node as the membership names it.
func selfOf(own replication.Status) pushwal.Member {
	for _, m := range own.Configuration.All() {
		if m.ID == own.NodeID {
			return m
		}
	}
	return pushwal.Member{ID: own.NodeID}
}

// askHolding asks another member. That it held the position at a moment is
// asked after where it stands, so that it never says more than is true.
func (s *Server) askHolding(ctx context.Context, t *timeline, m pushwal.Member, at wal.LSN) holding {
	h := holding{member: m}
	if h.status, h.err = s.queryPeer(ctx, t, m); h.err != nil {
		return h
	}
	if h.status.Joining {
		h.err = errJoining
		return h
	}
	conninfo, err := s.o.Config.Peer.Conninfo(memberAddress(m))
	if err != nil {
		h.err = err
		return h
	}
	o := s.dialOptions(t.id)
	o.Timeout = peerTimeout
	rows, err := replication.Query(ctx, conninfo, "FLUSHED "+at.String(), o)
	if err == nil && len(rows) == 1 && rows[0]["flushed_at"] != "" {
		h.at = rows[0]["flushed_at"]
	}
	return h // without the time when it is an older safekeeper
}

// judge says what the members' answers amount to: the position is durable when it
// is committed, and a majority of each set holds the committed bytes.
func (r *receipt) judge(c pushwal.Configuration) error {
	answered, holds := map[pushwal.NodeID]bool{}, map[pushwal.NodeID]bool{}
	for _, h := range r.members {
		if h.err != nil {
			continue
		}
		answered[h.member.ID] = true
		r.commit = max(r.commit, h.status.CommitLSN)
		if h.status.CommitLSN >= r.lsn {
			r.term = h.status.TermAt(r.lsn)
		}
	}
	for _, h := range r.members {
		holds[h.member.ID] = r.holds(h)
	}
	if !c.Majority(func(m pushwal.Member) bool { return answered[m.ID] }) {
		return protocol.Errorf(protocol.CodeCannotConnectNow, "only %d of %d members answer", len(answered), len(c.Members)).
			WithHint("What is durable is what a majority says.")
	}
	r.durable = r.commit >= r.lsn && c.Majority(func(m pushwal.Member) bool { return holds[m.ID] })
	return nil
}

// holds says whether a member holds the committed bytes up to the position: those
// that the same term wrote.
func (r *receipt) holds(h holding) bool {
	return h.err == nil && h.status.FlushLSN >= r.lsn && (r.term == 0 || h.status.TermAt(r.lsn) == r.term)
}

func (r *receipt) emit(emit admin.Emit) error {
	var term any
	if r.term != 0 {
		term = r.term
	}
	for _, h := range r.members {
		var flush any
		if h.status.NodeID != 0 {
			flush = h.status.FlushLSN
		}
		holds := r.holds(h)
		at := h.at
		if !holds {
			at = nil
		}
		if err := emit(r.lsn, r.durable, term, r.commit, h.member.ID, memberAddress(h.member), holds, flush, at, errorText(h.err)); err != nil {
			return err
		}
	}
	return nil
}
