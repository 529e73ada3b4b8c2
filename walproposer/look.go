package walproposer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/walhaven/walhaven/internal/pause"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/replication/headless"
	"github.com/walhaven/walhaven/wal"
)

// lookEvery is the pause between looks while there is no quorum.
const lookEvery = 300 * time.Millisecond

// maxFollows bounds how often one look goes on to members that it has just heard
// of.
const maxFollows = 3

// view is what looking found: enough to prove and to campaign.
type view struct {
	consensus.Survey
	all []replication.Answer
}

// errNoQuorum says that too few safekeepers answered.
var errNoQuorum = headless.ErrNoQuorum

// look asks everyone once, touching no term. It waits for a safekeeper that hangs
// only after a campaign that came to nothing, or was ended by a higher term: it may be
// the one whose term or WAL was missing in the last look, and without its answer the
// next campaign would end there as well.
func (s *session) look(ctx context.Context) (view, error) {
	enough := s.enough
	if s.patient {
		enough = nil
	}
	v := view{all: s.peers.statuses(ctx, enough)}
	for range maxFollows {
		changed, err := s.peers.follow(v.all)
		if err != nil {
			return v, err
		}
		if !changed {
			break
		}
		s.logger.Warn(notTheMembers, "safekeepers", s.peers.addresses())
		v.all = s.peers.statuses(ctx, enough)
	}
	var err error
	if v.Survey, err = s.evaluate(v.all); err != nil {
		if r := judge(err); r != nil {
			return v, r
		}
		return v, fmt.Errorf("look at the safekeepers: %w", err)
	}
	if !v.Quorum {
		return v, tooFew(s.peers, v.all)
	}
	return v, nil
}

func (s *session) evaluate(all []replication.Answer) (consensus.Survey, error) {
	return consensus.Evaluate(s.config(consensus.Survey{}), looksOf(all))
}

// enough says whether answers are those of a quorum that would do.
func (s *session) enough(all []replication.Answer) bool {
	v, err := s.evaluate(all)
	return err == nil && v.Quorum
}

// tooFew explains why there is no quorum.
func tooFew(p *peers, all []replication.Answer) error {
	missing, failures := 0, []error{errNoQuorum}
	for _, a := range all {
		if errors.Is(a.Err, errNoTimeline) {
			missing++
		}
		failures = append(failures, a.Err)
	}
	if missing > len(all)/2 {
		return refuse("timeline %q of tenant %s was not founded on these safekeepers", p.timeline, p.tenant).
			hint("Found it with walhaven up or walhaven attach, or correct --tenant-id and --timeline.")
	}
	return errors.Join(failures...)
}

// rival is another walproposer that was heard lately.
type rival struct {
	instance fmt.Stringer
	node     uint64
	age      time.Duration
}

// otherWriter returns the other walproposer that a member heard last, and
// whether there is one at all within the takeover time.
func (s *session) otherWriter(v view) (r rival, heard bool) {
	for _, a := range v.all {
		if a.Err != nil || a.Writer.IsZero() || a.Writer == s.o.Instance || a.WriterAge < 0 ||
			a.WriterAge >= s.o.TakeoverAfter || !v.Config.Has(a.NodeID) {
			continue
		}
		if !heard || a.WriterAge < r.age {
			r, heard = rival{a.Writer, uint64(a.NodeID), a.WriterAge}, true
		}
	}
	return r, heard
}

// mayCampaign looks until there is a quorum and no other writer.
func (s *session) mayCampaign(ctx context.Context) (view, error) {
	began := time.Now()
	for {
		v, err := s.look(ctx)
		if refusal := judge(err); refusal != nil {
			return v, refusal
		}
		wait := lookEvery
		if err != nil {
			s.state.set(stateWaiting, err.Error())
		} else {
			r, heard := s.otherWriter(v)
			if !heard || s.takeover {
				return v, nil
			}
			reason := fmt.Sprintf("another walproposer (instance %s) was heard by safekeeper %d %s ago",
				r.instance, r.node, r.age.Round(time.Millisecond))
			if s.deposed && time.Since(began) > 2*s.o.TakeoverAfter {
				return v, refuse("another walproposer has taken over: %s", reason).hint(hintRival)
			}
			s.state.set(stateWaiting, reason)
			wait = max(lookEvery, min(s.o.TakeoverAfter-r.age, time.Second))
		}
		if err := pause.For(ctx, wait); err != nil {
			return v, err
		}
		// The server may have gone or moved on meanwhile.
		if err := s.identify(ctx); err != nil {
			return v, err
		}
	}
}

// lowerBound is the first byte that has to be proved: what the quorum last
// confirmed to this data directory, or the timeline's beginning if nothing was
// ever confirmed. Bytes that the donor no longer keeps were committed long
// before.
func (s *session) lowerBound(v view) wal.LSN {
	var start, oldest wal.LSN
	for _, a := range v.all {
		if a.Err == nil && start == 0 {
			start = a.Origin()
		}
	}
	if d := v.Proof.Donor; d < len(v.all) && v.all[d].Err == nil {
		start, oldest = v.all[d].Origin(), v.all[d].Oldest
	}
	if s.confirmed == 0 {
		return max(start, oldest)
	}
	return max(s.confirmed, start, oldest)
}
