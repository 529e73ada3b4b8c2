package operator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	program "github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/internal/pause"
	"github.com/walhaven/walhaven/internal/pgdata"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/headless"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// forcedGenerations is how far a forced membership lies ahead of the newest that a
// survivor knows: those that are gone may have gone on by some.
const forcedGenerations = 1000

// ForceQuorum is a membership of the survivors, without those that are gone.
type ForceQuorum struct {
	// AcceptLossAfter is the position that the operator names: where the loss begins
	// that is accepted.
	AcceptLossAfter wal.LSN
	// PGData is the data directory of the stopped primary, whose WAL tells which
	// transactions are at risk; "" when there is none.
	PGData string
	// Confirm hears what is lost and decides; an error ends everything with nothing
	// changed.
	Confirm func(*QuorumLoss) error
	Timeout time.Duration
	// Progress hears each address and statement before it is run; may be nil.
	Progress func(string)
}

// QuorumLoss is what forcing a membership costs: the answer of
// `walhaven member force-quorum -o json`.
type QuorumLoss struct {
	Generation uint32       `json:"generation"` // newest that a survivor knows
	Forced     uint32       `json:"forced_generation"`
	Survivors  []MemberNode `json:"survivors"`
	Gone       []MemberNode `json:"gone"`

	// CommitLSN is up to where the survivors know WAL to be committed, KeptLSN where
	// the best of them ends: what lies behind it is lost, if it was ever acknowledged.
	CommitLSN wal.LSN `json:"commit_lsn"`
	KeptLSN   wal.LSN `json:"kept_lsn"`
	// KeptBy is the survivor that has it.
	KeptBy string `json:"kept_by"`

	// Of the primary's data directory, if one was named: where its WAL ends, and the
	// transactions in what no survivor has.
	PGData       string              `json:"pgdata,omitempty"`
	EndLSN       wal.LSN             `json:"end_lsn,omitempty"`
	Transactions []OrphanTransaction `json:"transactions"`

	config pushwal.Configuration
}

// ErrQuorumThere says that a majority answers: nothing needs to be forced.
var ErrQuorumThere = errors.New("a majority of the members answers")

// ErrLossNotAccepted says that the position named by the operator does not fit what
// the survivors have.
var ErrLossNotAccepted = errors.New("the loss is not the one that was accepted")

// QuorumLoss looks what forcing a membership would cost, and changes nothing.
func (c *Cluster) QuorumLoss(ctx context.Context, dataDir string) (*QuorumLoss, error) {
	addresses := make([]string, 0, len(c.Safekeepers)+1)
	for _, n := range c.Safekeepers {
		addresses = append(addresses, n.PG)
	}
	addresses, answers := c.surveyMembers(ctx, addresses)
	view, err := headless.Evaluate(wal.TTID{Tenant: c.Tenant, Timeline: c.Timeline}, answers)
	switch {
	case err == nil:
		return nil, program.Explain(ErrQuorumThere, "", "Use walhaven member remove or replace: they lose nothing.")
	case !errors.Is(err, headless.ErrNoQuorum):
		return nil, err
	}
	l := &QuorumLoss{PGData: dataDir, Survivors: []MemberNode{}, Gone: []MemberNode{}, Transactions: []OrphanTransaction{}}
	if err := l.survey(view, addresses, answers); err != nil {
		return nil, err
	}
	if dataDir != "" {
		return l, l.readPrimary(dataDir)
	}
	return l, nil
}

// survey tells survivors from those that are gone.
func (l *QuorumLoss) survey(view headless.View, addresses []string, answers []replication.Answer) error {
	var known pushwal.Configuration
	for _, a := range answers {
		if a.Err == nil && !a.Joining && a.Configuration.Generation > known.Generation {
			known = a.Configuration
		}
	}
	view.Config = known
	var best *replication.Answer
	var survivors []pushwal.Member
	all := known.All()
	for i := range answers {
		a := &answers[i]
		n := memberNode(view, addresses[i], *a)
		j := slices.IndexFunc(all, func(m pushwal.Member) bool { return a.Err == nil && m.ID == a.NodeID && m.Incarnation == a.Incarnation })
		switch {
		case j < 0 && n.Set == "":
			continue // no member, wherever it comes from
		case j < 0 || a.Joining:
			l.Gone = append(l.Gone, n)
			continue
		}
		survivors = append(survivors, all[j])
		l.Survivors = append(l.Survivors, n)
		l.CommitLSN = max(l.CommitLSN, a.CommitLSN)
		if best == nil || a.LastLogTerm > best.LastLogTerm || a.LastLogTerm == best.LastLogTerm && a.FlushLSN > best.FlushLSN {
			best, l.KeptBy = a, addresses[i]
		}
	}
	if best == nil {
		return errors.Join(errors.New("no member that still has its data directory answers: nothing can be kept"), headless.ErrNoQuorum)
	}
	l.KeptLSN, l.Generation, l.Forced = best.FlushLSN, uint32(known.Generation), uint32(known.Generation)+forcedGenerations
	slices.SortFunc(survivors, func(a, b pushwal.Member) int { return int(a.ID) - int(b.ID) })
	l.config = pushwal.Configuration{Generation: pushwal.Generation(l.Forced), Members: survivors}
	return l.config.Validate()
}

// readPrimary lists the transactions that only the primary has.
func (l *QuorumLoss) readPrimary(dataDir string) error {
	d, err := pgdata.Open(dataDir, "")
	if err != nil {
		if errors.Is(err, pgdata.ErrRunning) {
			return program.Explain(err, "", "Stop it first, or leave --pgdata out: a primary that runs still has what it wrote, and goes on.")
		}
		return err
	}
	l.EndLSN = d.End
	if d.End <= l.KeptLSN {
		return nil
	}
	r := &orphanReader{from: max(l.KeptLSN, d.Oldest), record: walrecord.Record{Major: d.Major}, all: map[uint32]*orphan{}}
	if err := r.read(d); err != nil {
		return err
	}
	l.Transactions = r.transactions()
	return nil
}

// check refuses a position that does not fit what the survivors have.
func (l *QuorumLoss) check(accepted wal.LSN) error {
	detail := ""
	switch {
	case accepted > l.KeptLSN:
		detail = fmt.Sprintf("The survivors' WAL ends at %s already: more would be lost than was accepted.", l.KeptLSN)
	case accepted < l.CommitLSN:
		detail = fmt.Sprintf("The survivors know WAL up to %s to be committed, and keep it up to %s: another timeline or moment was meant.", l.CommitLSN, l.KeptLSN)
	default:
		return nil
	}
	return program.Explain(fmt.Errorf("%w: behind %s", ErrLossNotAccepted, accepted), detail,
		fmt.Sprintf("Look at what is at risk, and name %s.", l.KeptLSN))
}

// ForceQuorum installs a membership of the members that are left when a majority is
// gone for good, and returns it.
func (c *Cluster) ForceQuorum(ctx context.Context, o ForceQuorum) (*Members, error) {
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	loss, err := c.QuorumLoss(ctx, o.PGData)
	if err != nil {
		return nil, err
	}
	if err := o.Confirm(loss); err != nil {
		return nil, err
	}
	if err := loss.check(o.AcceptLossAfter); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.Timeout, fmt.Errorf("not done within %s; the same command goes on", o.Timeout))
	defer cancel()
	statement := fmt.Sprintf("FORCE MEMBERS (generation '%d', members '%s', incarnations '%s', accept_loss_after '%s')", loss.Forced,
		replication.FormatMembers(loss.config.Members), replication.FormatIncarnations(loss.config.Members), o.AcceptLossAfter)
	for _, n := range loss.Survivors {
		o.Progress(n.Address + ": " + statement)
		if _, err := c.query(ctx, n.Address, statement, nil); err != nil {
			return nil, fmt.Errorf("safekeeper %s: %w", n.Address, err)
		}
	}
	m, err := c.awaitForced(ctx, loss)
	if err == nil {
		c.noteMembers(ctx, m, o.Progress)
	}
	return m, err
}

// awaitForced waits until the survivors agree.
func (c *Cluster) awaitForced(ctx context.Context, l *QuorumLoss) (*Members, error) {
	var addresses []string
	for _, n := range l.Survivors {
		addresses = append(addresses, n.Address)
	}
	for {
		m, err := c.membersFrom(ctx, addresses)
		if err == nil && m.Generation >= l.Forced {
			return m, nil
		}
		if err := pause.For(ctx, memberLookEvery); err != nil {
			return nil, err
		}
	}
}
