package operator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/internal/pause"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/headless"
	"github.com/walhaven/walhaven/wal"
)

// Members is the membership of a timeline and how its nodes are.
type Members struct {
	Generation uint32       `json:"generation"`
	Joint      bool         `json:"joint"` // a change is under way
	CommitLSN  wal.LSN      `json:"commit_lsn"`
	Nodes      []MemberNode `json:"nodes"`

	view   headless.View
	at     []string         // addresses, in the order of the view's answers
	before []pushwal.Member // the old members of a joint state that it came of
}

// MemberNode is a member, or a node that has the timeline and is none.
type MemberNode struct {
	NodeID      string  `json:"node_id"` // "" = it has never answered
	Address     string  `json:"address"`
	Set         string  `json:"set"` // members, new_members, both, or "" for no member
	State       string  `json:"state"`
	Generation  uint32  `json:"generation"`
	FlushLSN    wal.LSN `json:"flush_lsn"`
	LagBytes    uint64  `json:"lag_bytes"`
	Incarnation string  `json:"incarnation"`
	Error       string  `json:"error,omitempty"`
}

// maxMemberRounds bounds how often a look goes on to nodes that it has just heard of.
const maxMemberRounds = 4

// ListMembers asks the cluster file's safekeepers, and those that they name, for the
// membership. An error is an ErrNoQuorum when too few answer.
func (c *Cluster) ListMembers(ctx context.Context) (*Members, error) {
	addresses := make([]string, 0, len(c.Safekeepers)+1)
	for _, n := range c.Safekeepers {
		addresses = append(addresses, n.PG)
	}
	return c.membersFrom(ctx, addresses)
}

func (c *Cluster) membersFrom(ctx context.Context, addresses []string) (*Members, error) {
	addresses, answers := c.surveyMembers(ctx, addresses)
	view, err := headless.Evaluate(wal.TTID{Tenant: c.Tenant, Timeline: c.Timeline}, answers)
	if err != nil {
		return nil, lookFailed(answers, err)
	}
	m := &Members{
		Generation: uint32(view.Config.Generation), Joint: view.Config.Joint(), CommitLSN: view.CommitLSN, view: view, at: addresses,
	}
	for i, a := range answers {
		m.Nodes = append(m.Nodes, memberNode(view, addresses[i], a))
	}
	return m, nil
}

func memberNode(v headless.View, address string, a replication.Answer) MemberNode {
	n := MemberNode{Address: address, State: "not reachable"}
	in := func(set []pushwal.Member) bool {
		return slices.ContainsFunc(set, func(m pushwal.Member) bool {
			if a.Err != nil {
				return addressOf(m) == address
			}
			return m.ID == a.NodeID
		})
	}
	switch old, joins := in(v.Config.Members), in(v.Config.NewMembers); {
	case old && joins:
		n.Set = "both"
	case old:
		n.Set = "members"
	case joins:
		n.Set = "new_members"
	}
	if a.Err != nil {
		n.Error = a.Err.Error()
		return n
	}
	n.NodeID, n.Generation = strconv.FormatUint(uint64(a.NodeID), 10), uint32(a.Configuration.Generation)
	n.FlushLSN, n.LagBytes, n.Incarnation = a.FlushLSN, distance(a.FlushLSN, v.CommitLSN), a.Incarnation.String()
	switch {
	case n.Set == "":
		n.State = "no member"
	case a.Joining:
		n.State = "joining"
	default:
		n.State = "votes"
	}
	return n
}

// MemberChange is one change of the membership. Repeating it after any end goes on
// where it was; when it is done already, nothing happens.
type MemberChange struct {
	// Add is the address of a safekeeper that becomes a member, "" for none.
	Add string
	// Remove is a member's node ID that goes, 0 for none. With Add the new one takes
	// its place.
	Remove pushwal.NodeID
	// Timeout bounds the whole.
	Timeout time.Duration
	// Progress hears each address and statement before it is run; may be nil.
	Progress func(string)

	// back leaves a joint configuration for its old members.
	back bool
}

func (o MemberChange) withProgress() MemberChange {
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	return o
}

func (o MemberChange) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, o.Timeout, fmt.Errorf("not done within %s; the same command goes on", o.Timeout))
}

// ErrChangedOtherwise says that the membership has changed in another way meanwhile.
var ErrChangedOtherwise = errors.New("the membership has changed in another way meanwhile")

const (
	memberLookEvery = 300 * time.Millisecond
	// memberSilence is how long no writer was heard before members are changed without
	// one.
	memberSilence = 5 * time.Second
	// headlessSlice bounds one attempt without a writer, which may come meanwhile.
	headlessSlice = 30 * time.Second
)

// ChangeMembers makes a change and returns the membership that came of it.
func (c *Cluster) ChangeMembers(ctx context.Context, o MemberChange) (*Members, error) {
	o = o.withProgress()
	ctx, cancel := o.bounded(ctx)
	defer cancel()
	now, err := c.settledMembers(ctx, o)
	if err != nil {
		return nil, err
	}
	want, err := c.plan(ctx, now, o)
	if err != nil {
		return nil, err
	}
	if sameSet(want.Members, now.view.Config.Members) {
		o.Progress(o.nothingToDo(now))
		c.noteMembers(ctx, now, o.Progress)
		return now, nil
	}
	o.Progress(fmt.Sprintf("from generation %d: %s\n  to: %s", now.Generation,
		replication.FormatMembers(now.view.Config.Members), replication.FormatMembers(want.Members)))
	m, err := c.drive(ctx, o, now, want)
	if err == nil {
		c.noteMembers(ctx, m, o.Progress)
	}
	return m, err
}

// nothingToDo says why the members are those that are wanted.
func (o MemberChange) nothingToDo(now *Members) string {
	if o.Add == "" {
		return fmt.Sprintf("node %d is no member of generation %d", o.Remove, now.Generation)
	}
	return fmt.Sprintf("generation %d has these members already", now.Generation)
}

// settledMembers waits for a change that is under way.
func (c *Cluster) settledMembers(ctx context.Context, o MemberChange) (*Members, error) {
	now, err := c.knownMembers(ctx, o)
	if err != nil || !now.Joint {
		return now, err
	}
	invariant.Point("operator/member/joint")
	if o.takesBack(now.view.Config) {
		return c.goBack(ctx, o, now)
	}
	o.Progress(fmt.Sprintf("generation %d is joint: a change that was begun comes first", now.Generation))
	m, err := c.drive(ctx, o, now, pushwal.Configuration{Generation: now.view.Config.Generation - 1, Members: now.view.Config.NewMembers})
	if err == nil {
		m.before = now.view.Config.Members
	}
	return m, err
}

// drive asks for the members until they are in force, and a majority of them says
// so.
func (c *Cluster) drive(ctx context.Context, o MemberChange, now *Members, want pushwal.Configuration) (*Members, error) {
	statement := changeStatement(want)
	addresses := now.at
	for _, m := range want.Members {
		if !slices.Contains(addresses, addressOf(m)) {
			addresses = append(addresses, addressOf(m))
		}
	}
	n := narrator{progress: o.Progress}
	for {
		m, err := c.membersFrom(ctx, addresses)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err == nil {
			n.fine()
			done, err := m.reached(want)
			if done || err != nil {
				return m, err
			}
			if m.Joint {
				invariant.Point("operator/member/joint")
			}
			if m.written() {
				n.say(cmp.Or(m.unfillable(want), statement))
				if err := c.ask(ctx, m, statement); err != nil {
					return nil, err
				}
			} else if err := c.changeHeadless(ctx, o, m, want, n.say); err != nil {
				n.say(err.Error())
			}
		} else {
			n.trouble(err)
		}
		if err := pause.For(ctx, memberLookEvery); err != nil {
			return nil, err
		}
	}
}

func changeStatement(want pushwal.Configuration) string {
	return fmt.Sprintf("CHANGE MEMBERS (generation '%d', members '%s', incarnations '%s')", want.Generation,
		replication.FormatMembers(want.Members), replication.FormatIncarnations(want.Members))
}

// reached says whether the members are in force and established.
func (m *Members) reached(want pushwal.Configuration) (bool, error) {
	c := m.view.Config
	switch {
	case c.Generation <= want.Generation:
		return false, nil
	case c.Joint() && sameSet(c.NewMembers, want.Members):
		return false, nil
	case !sameSet(c.Members, want.Members):
		return false, fmt.Errorf("%w: generation %d has %s", ErrChangedOtherwise, c.Generation, replication.FormatMembers(c.Members))
	}
	n := 0
	for _, a := range m.view.Answers {
		for _, k := range c.Members {
			if a.Err == nil && a.NodeID == k.ID && a.Incarnation == k.Incarnation && a.Configuration.Generation == c.Generation {
				n++
			}
		}
	}
	return 2*n > len(c.Members), nil
}

// written says whether a writer was heard lately, or may have been.
func (m *Members) written() bool {
	for _, a := range m.view.Answers {
		if a.Err == nil && a.Silence() < memberSilence {
			return true
		}
	}
	return false
}

// ask tells the members, whose proposer does the rest. It fails if all of them refuse
// for what will be the same the next time: who asks has not the right, or asks for what
// cannot be.
func (c *Cluster) ask(ctx context.Context, m *Members, statement string) error {
	invariant.Point("operator/member/ask")
	var wg sync.WaitGroup
	asked, refusals := 0, make(chan error, len(m.view.Answers))
	for i, a := range m.view.Answers {
		if a.Err != nil || a.Joining {
			continue
		}
		asked++
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, probeTimeout)
			defer cancel()
			_, err := c.query(ctx, m.at[i], statement, nil) // Else the next look shows what came of it.
			if code := protocol.SQLState(err); strings.HasPrefix(code, "42") || strings.HasPrefix(code, "22") {
				refusals <- fmt.Errorf("safekeeper %s: %w", m.at[i], err)
			}
			invariant.Point("operator/member/told")
		})
	}
	wg.Wait()
	if asked == 0 || len(refusals) < asked {
		return nil
	}
	return <-refusals
}

// changeHeadless changes the members while nobody writes.
func (c *Cluster) changeHeadless(ctx context.Context, o MemberChange, m *Members, want pushwal.Configuration, say func(string)) error {
	say("no writer is heard: this command campaigns in its place")
	ctx, cancel := context.WithTimeout(ctx, headlessSlice)
	defer cancel()
	h := headless.Options{
		ID:   wal.TTID{Tenant: c.Tenant, Timeline: c.Timeline},
		Dial: replication.DialOptions{Params: map[string]string{"application_name": "walhaven"}},
	}
	for _, address := range m.at {
		conninfo, err := c.conninfo(address)
		if err != nil {
			return err
		}
		h.Peers = append(h.Peers, headless.Peer{Name: address, Conninfo: conninfo})
	}
	if o.back {
		return headless.GoBack(ctx, h, m.view)
	}
	return headless.Change(ctx, h, m.view, want)
}

func sameSet(a, b []pushwal.Member) bool {
	return slices.EqualFunc(a, b, func(x, y pushwal.Member) bool { return x.ID == y.ID && x.Incarnation == y.Incarnation })
}
