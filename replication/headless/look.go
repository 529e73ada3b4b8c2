package headless

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
)

// ErrNoQuorum says that too few safekeepers answered.
var ErrNoQuorum = errors.New("no majority of the safekeepers answers")

// lookTimeout bounds a question to a safekeeper.
const lookTimeout = 3 * time.Second

// Peer is a safekeeper and how to reach it.
type Peer struct {
	Name     string // as messages call it
	Conninfo string
}

// Options name a timeline and its safekeepers.
type Options struct {
	ID    wal.TTID
	Peers []Peer
	// Dial logs in; application_name and what else is in Params is kept, the
	// timeline's options are added.
	Dial   replication.DialOptions
	Logger *slog.Logger // nil: nothing is logged

	// instance is the one of a Holding; zero = pushwal.Headless, which does not
	// count as a writer.
	instance pushwal.Instance
	// back is the generation of a joint configuration that is left for its old
	// members; 0 = none.
	back pushwal.Generation
}

// View is what the safekeepers said at one moment.
type View struct {
	Answers []replication.Answer // in the order of Options.Peers
	consensus.Survey
}

// Look asks all safekeepers once, touching no term. It does not wait for one that
// hangs when the others are a quorum. An error says why the run could not succeed:
// ErrNoQuorum, or a *consensus.Error.
func Look(ctx context.Context, o Options) (View, error) {
	return o.look(ctx, func(answers []replication.Answer) bool {
		_, err := Evaluate(o.ID, answers)
		return err == nil
	})
}

func (o Options) look(ctx context.Context, enough func([]replication.Answer) bool) (View, error) {
	return Evaluate(o.ID, replication.Ask(ctx, len(o.Peers), o.status, enough))
}

// Evaluate judges answers that the caller has collected, as Look does.
func Evaluate(id wal.TTID, answers []replication.Answer) (View, error) {
	v := View{Answers: answers}
	var looks []consensus.Look
	var failures []error
	for i, a := range answers {
		if a.Err != nil {
			failures = append(failures, a.Err)
			continue
		}
		looks = append(looks, a.Look(i))
	}
	var err error
	if v.Survey, err = consensus.Evaluate(consensus.ProposerConfig{ID: id, Peers: len(answers), Headless: true}, looks); err != nil {
		return v, err
	}
	if !v.Quorum {
		return v, errors.Join(append([]error{ErrNoQuorum}, failures...)...)
	}
	return v, nil
}

// config is the proposer's: what it has to know it takes from the safekeepers.
func (v View) config(o Options) consensus.ProposerConfig {
	c := consensus.ProposerConfig{
		ID: o.ID, Peers: len(v.Answers), Headless: true, Instance: o.instance,
		MinTerm: v.MaxTerm, Members: v.Config, TLIHistory: v.Proof.TLIHistory, Back: o.back,
	}
	if c.Instance.IsZero() {
		c.Instance = pushwal.Headless
	}
	for _, a := range v.Answers {
		if a.Err == nil {
			c.PGVersion, c.SegmentSize, c.SystemID = a.PGVersion, a.SegmentSize, a.SystemID
		}
	}
	return c
}

// dial are the options of a connection for one purpose.
func (o Options) dial(timeout time.Duration, params map[string]string) replication.DialOptions {
	d := o.Dial
	d.Timeout = timeout
	d.Params = map[string]string{}
	for name, value := range o.Dial.Params {
		d.Params[name] = value
	}
	for name, value := range params {
		d.Params[name] = value
	}
	d.Params["options"] = fmt.Sprintf("-c tenant_id=%s -c timeline_id=%s", o.ID.Tenant, o.ID.Timeline)
	return d
}

func (o Options) status(ctx context.Context, peer int) (replication.Status, error) {
	fail := func(err error) error { return fmt.Errorf("safekeeper %s: %w", o.Peers[peer].Name, err) }
	rows, err := replication.Query(ctx, o.Peers[peer].Conninfo, "TIMELINE_STATUS", o.dial(lookTimeout, nil))
	if err != nil {
		return replication.Status{}, fail(err)
	}
	if len(rows) == 0 {
		return replication.Status{}, fail(errors.New("the timeline is not there"))
	}
	s, err := replication.ParseStatus(rows[0])
	if err != nil {
		return s, fail(err)
	}
	return s, nil
}
