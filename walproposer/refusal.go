package walproposer

import (
	"errors"
	"fmt"

	"github.com/walhaven/walhaven/replication/consensus"
)

// Refusal is an end for good: going on could lose or fork history, or would
// never work. It implements daemon.Explainer.
type Refusal struct {
	Reason string
	Detail string
	Hint   string
	Err    error // what was found, or nil
}

func (r *Refusal) Error() string {
	if r.Err != nil {
		return r.Reason + ": " + r.Err.Error()
	}
	return r.Reason
}

// Unwrap returns what was found.
func (r *Refusal) Unwrap() error { return r.Err }

// Explain returns what to tell a person besides.
func (r *Refusal) Explain() (detail, hint string) { return r.Detail, r.Hint }

func refuse(format string, args ...any) *Refusal {
	return &Refusal{Reason: fmt.Sprintf(format, args...)}
}

func (r *Refusal) detail(format string, args ...any) *Refusal {
	r.Detail = fmt.Sprintf(format, args...)
	return r
}

func (r *Refusal) hint(text string) *Refusal { r.Hint = text; return r }

// Ways out of a refusal.
const (
	hintRebuild = "This data directory must not be the primary. Restore it from a base backup and the safekeepers' WAL " +
		"(restore_command with walhaven wal get), or start it as a standby of the safekeepers and promote it."
	hintFresh = "Import this server as a new timeline: choose another --timeline and found it."
	hintTwice = "Only one of the two can go on. If the other one's walproposer was elected, rebuild this server as a standby. If neither was, " +
		"start the safekeepers that are down: a majority without the other history lets this one in. If they are gone for good, stop both servers and " +
		"promote a third one onto a free timeline, as docs/consensus.md says (Known limit)."
	hintRival = "Stop the other walproposer, or pass --takeover if it is gone for good."
)

// judge turns what the consensus found into a refusal, or nil when trying again
// may help.
func judge(err error) *Refusal {
	var refusal *Refusal
	if errors.As(err, &refusal) {
		return refusal
	}
	var e *consensus.Error
	if !errors.As(err, &e) {
		return nil
	}
	switch {
	case errors.Is(e.Cause, consensus.ErrIdentity), errors.Is(e.Cause, consensus.ErrNegotiation):
		return &Refusal{Reason: "these safekeepers keep another server's WAL", Err: err, Hint: hintFresh}
	case errors.Is(e.Cause, consensus.ErrPromotedTwice):
		r := &Refusal{Reason: "this server's timeline history is not the quorum's", Err: err, Hint: hintTwice}
		if e.Node != 0 {
			r.Detail = fmt.Sprintf("Safekeeper %d has the other server's history.", e.Node)
		}
		return r
	case errors.Is(e.Cause, consensus.ErrTimeline):
		return &Refusal{Reason: "this server's timeline history does not continue the quorum's", Err: err, Hint: hintRebuild}
	}
	return nil
}
