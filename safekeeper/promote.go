package safekeeper

import (
	"context"
	"fmt"
	"time"

	"github.com/walhaven/walhaven/protocol/admin"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/headless"
	"github.com/walhaven/walhaven/wal"
)

// candidateGone is how long a walproposer that asks for votes must have been silent
// to count as gone.
const candidateGone = 5 * time.Second

// hintSync is the way to a sync.
const hintSync = "Run walhaven failover --sync-only, or walproposer sync, and ask again."

// promoteCommand asks whether a standby may be promoted.
func (s *Server) promoteCommand() admin.Command {
	return admin.Command{
		Name: "SAFE_TO_PROMOTE", Tag: "SAFE_TO_PROMOTE", Scope: admin.ScopeTimeline,
		Args: []admin.Arg{{Name: "lsn", Kind: admin.KindLSN, Help: "What the standby has replayed, as pg_last_wal_replay_lsn() answers."}},
		Columns: []admin.Column{
			{Name: "safe", Type: admin.TypeBool, Help: "The standby has every commit that was acknowledged, and nobody who wrote before can acknowledge another."},
			{Name: "lsn"},
			{Name: "sync_lsn", Help: "Where WAL ends: what a standby must have replayed. NULL while that is open."},
			{Name: "term", Type: admin.TypeInt8, Help: "The term of the sync."},
			{Name: "reason"},
			{Name: "hint"},
		},
		Help:    "Whether a standby that has replayed up to a position may be promoted: after a sync, asked of a majority.",
		Handler: s.onTimeline(s.safeToPromote),
	}
}

// safeToPromote asks the members. That nobody can say is an answer, too.
func (s *Server) safeToPromote(ctx context.Context, t *timeline, call *admin.Call, emit admin.Emit) error {
	at, err := wal.ParseLSN(call.Args["lsn"])
	if err != nil {
		return err
	}
	own := t.accepting.Status()
	answers := []replication.Answer{{Status: own, Err: own.Err}}
	for _, p := range s.queryPeers(ctx, t, otherMembers(own)) {
		answers = append(answers, replication.Answer{Status: p.status, Err: p.err})
	}
	p := promotion{at: at}
	p.judge(headless.Evaluate(own.ID, answers))
	var end, term any
	if p.end != 0 {
		end = p.end
	}
	if p.term != 0 {
		term = p.term
	}
	return emit(p.reason == "", at, end, term, p.reason, p.hint)
}

// promotion is the judgement on one position.
type promotion struct {
	at     wal.LSN
	end    wal.LSN  // 0 = open
	term   wal.Term // of the sync; 0 = there was none
	reason string   // against it; "" = safe
	hint   string
}

// judge says yes only if a majority follows a headless run and has all of its WAL:
// then no proposer of an older term can have anything acknowledged any more, and
// what was acknowledged lies below the end that is committed. A newer one would
// have to win a term first, and is seen while it asks for that.
func (p *promotion) judge(v headless.View, err error) {
	no := func(hint, format string, args ...any) { p.reason, p.hint = fmt.Sprintf(format, args...), hint }
	if err != nil {
		no("What was acknowledged is what a majority says.", "%v", err)
		return
	}
	end := v.Proof.Upto
	if v.CommitLSN < end {
		no(hintSync, "WAL up to %s is there and may have been acknowledged, but is committed up to %s only", end, v.CommitLSN)
		return
	}
	p.end = end
	settled := map[pushwal.NodeID]bool{}
	for _, a := range v.Answers {
		settled[a.NodeID] = settled[a.NodeID] || counts(v, a) && a.HeadlessTerm == v.MaxTerm && a.FlushLSN == end
	}
	if !v.Config.Majority(func(m pushwal.Member) bool { return settled[m.ID] }) {
		no(hintSync, "there was no sync since a walproposer won term %d: it may still acknowledge commits", v.MaxTerm)
		return
	}
	p.term = v.MaxTerm
	if node, age := candidate(v); node != 0 {
		no("Stop the old primary's walproposer, or wait until it is gone, and sync again.",
			"safekeeper %d heard a walproposer %s ago that asks for the next term", node, age.Round(time.Millisecond))
		return
	}
	if p.at < end {
		no("Wait until the standby has replayed up to sync_lsn.", "the standby lacks acknowledged WAL: it has %s, the quorum %s", p.at, end)
	}
}

// candidate is the member that heard a server's proposer lately which asks for
// votes, and began to after the last headless run; 0 = none.
func candidate(v headless.View) (node pushwal.NodeID, age time.Duration) {
	for _, a := range v.Answers {
		if a.Err == nil && a.CandidateAge >= 0 && a.CandidateAge < candidateGone && (a.HeadlessAge < 0 || a.CandidateAge < a.HeadlessAge) {
			node, age = a.NodeID, a.CandidateAge
		}
	}
	return node, age
}
