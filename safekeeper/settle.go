package safekeeper

import (
	"slices"
	"time"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/headless"
	"github.com/walhaven/walhaven/wal"
)

const (
	// candidatePatience is how long a server's proposer may say nothing before it no
	// longer counts as one that is about to write: from its first comparison of WAL
	// to its election it reads back what it has, which takes time.
	candidatePatience = time.Minute
	// rankPatience is how much longer a member waits for each live member of a
	// lower ID, which should have settled it, and how long another run may be silent.
	rankPatience = 10 * time.Second
)

// situation is what one member knows when it asks itself whether to run the
// headless proposer.
type situation struct {
	own   replication.Status
	peers []peer        // of the same moment
	after time.Duration // --headless-after
}

// verdict is what a situation calls for.
type verdict struct {
	run    bool
	view   headless.View // to run on
	reason string        // why, or why not
}

// judge says whether this member has to settle the end of WAL: only a proposer
// can, no server's proposer lives or is about to, and no lower member is there to
// do it.
func (s situation) judge() verdict {
	switch {
	case s.after <= 0:
		return verdict{reason: "switched off"}
	case s.own.Err != nil || s.own.Joining:
		return verdict{reason: "this member does not count"}
	case s.own.Configuration.Generation == 0:
		return verdict{reason: "there is no membership"}
	}
	answers := []replication.Answer{{Status: s.own}}
	for _, p := range s.peers {
		answers = append(answers, replication.Answer{Status: p.status, Err: p.err})
	}
	v, err := headless.Evaluate(s.own.ID, answers)
	if err != nil {
		return verdict{reason: err.Error()}
	}
	if !needsProposer(v) {
		return verdict{reason: "nothing is open"}
	}
	if why := s.somebodyWrites(v); why != "" {
		return verdict{reason: why}
	}
	return verdict{run: true, view: v, reason: "WAL up to " + v.Proof.Upto.String() + " is open and nobody writes"}
}

// needsProposer says whether the end of WAL is open and members cannot close it
// by learning from each other: WAL is there of which nobody knows that it is
// committed, or a member voted for a term that has written nothing, and so may
// not take over what is committed.
func needsProposer(v headless.View) bool {
	end := v.Proof.Upto
	if end > v.CommitLSN {
		return true
	}
	for _, a := range v.Answers {
		if counts(v, a) && a.CommitLSN < end && a.Term > lastTermOf(v.Proof.History) {
			return true
		}
	}
	return false
}

func lastTermOf(h pushwal.TermHistory) (t wal.Term) {
	if len(h) > 0 {
		t = h[len(h)-1].Term
	}
	return t
}

// counts says whether an answer is that of a member that votes.
func counts(v headless.View, a replication.Answer) bool {
	return a.Err == nil && !a.Joining && slices.ContainsFunc(v.Config.All(), func(m pushwal.Member) bool {
		return m.ID == a.NodeID && (m.Incarnation.IsZero() || m.Incarnation == a.Incarnation)
	})
}

// somebodyWrites says who may be writing, or about to, or settling already; ""
// is nobody.
func (s situation) somebodyWrites(v headless.View) string {
	patience := s.after
	for _, a := range v.Answers {
		if counts(v, a) && a.NodeID < s.own.NodeID {
			patience += rankPatience
		}
	}
	for _, a := range v.Answers {
		switch {
		case a.Err != nil:
		case a.Silence() < patience:
			return "a writer may be alive"
		case a.CandidateAge >= 0 && a.CandidateAge < candidatePatience:
			return "a writer is starting"
		case a.HeadlessAge >= 0 && a.HeadlessAge < rankPatience:
			return "another headless run is under way"
		}
	}
	return ""
}
