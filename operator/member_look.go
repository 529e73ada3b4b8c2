package operator

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/walhaven/walhaven/internal/pause"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/headless"
)

const (
	// memberPatience is how long too few answers are put up with before a change: a
	// safekeeper may be starting.
	memberPatience = 10 * time.Second
	// troubleAfter is how long nothing but trouble is seen before it is said.
	troubleAfter = 3 * time.Second
)

// errSwitching says that all safekeepers answer, but not of one generation.
var errSwitching = errors.New("the safekeepers answer, but a majority is not yet of the newest generation")

// lookFailed is why the members are not known.
func lookFailed(answers []replication.Answer, err error) error {
	if len(answers) > 0 && !slices.ContainsFunc(answers, func(a replication.Answer) bool { return a.Err != nil }) &&
		errors.Is(err, headless.ErrNoQuorum) {
		return errors.Join(errSwitching, ErrNoQuorum)
	}
	return errors.Join(ErrNoQuorum, err)
}

// knownMembers is ListMembers before a change, which has the time to wait until a
// generation that is coming into force, by a command that has ended perhaps, is known
// to a majority.
func (c *Cluster) knownMembers(ctx context.Context, o MemberChange) (*Members, error) {
	n := narrator{progress: o.Progress}
	for {
		m, err := c.ListMembers(ctx)
		switch {
		case err == nil:
			return m, nil
		case ctx.Err() != nil:
			return nil, errors.Join(context.Cause(ctx), err)
		case n.trouble(err) > memberPatience && !errors.Is(err, errSwitching):
			return nil, err
		}
		if err := pause.For(ctx, memberLookEvery); err != nil {
			return nil, err
		}
	}
}

// narrator says what a change is at, once each, and what is wrong only when it lasts:
// while one generation takes the place of another no majority is of either for a
// moment.
type narrator struct {
	progress func(string)
	said     string
	wrong    time.Time // when trouble began, zero: there is none
}

func (n *narrator) say(text string) {
	if text != n.said {
		n.said = text
		n.progress(text)
	}
}

// fine ends trouble.
func (n *narrator) fine() { n.wrong = time.Time{} }

// trouble says err when there has been trouble for long enough, and returns for how long.
func (n *narrator) trouble(err error) time.Duration {
	if n.wrong.IsZero() {
		n.wrong = time.Now()
	}
	lasts := time.Since(n.wrong)
	if lasts >= troubleAfter {
		n.say(err.Error())
	}
	return lasts
}

// surveyMembers asks the nodes at some addresses, and those that they name.
func (c *Cluster) surveyMembers(ctx context.Context, addresses []string) ([]string, []replication.Answer) {
	var answers []replication.Answer
	for range maxMemberRounds {
		answers = c.askMembers(ctx, addresses)
		known := len(addresses)
		addresses = withMembers(addresses, answers)
		if len(addresses) == known {
			break
		}
	}
	return onceEach(addresses[:len(answers)], answers)
}

func (c *Cluster) askMembers(ctx context.Context, addresses []string) []replication.Answer {
	return replication.Ask(ctx, len(addresses), func(ctx context.Context, i int) (replication.Status, error) {
		ctx, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		return c.timelineStatus(ctx, Node{PG: addresses[i]})
	}, nil)
}

// withMembers adds the addresses of members that no answer came from.
func withMembers(addresses []string, answers []replication.Answer) []string {
	answered := func(id pushwal.NodeID) bool {
		return slices.ContainsFunc(answers, func(a replication.Answer) bool { return a.Err == nil && a.NodeID == id })
	}
	for _, a := range answers {
		if a.Err != nil {
			continue
		}
		for _, m := range a.Configuration.All() {
			if address := addressOf(m); !answered(m.ID) && !slices.Contains(addresses, address) {
				addresses = append(addresses, address)
			}
		}
	}
	return addresses
}

// onceEach drops further addresses of a node that has answered at another one.
func onceEach(addresses []string, answers []replication.Answer) (to []string, out []replication.Answer) {
	seen := map[pushwal.NodeID]bool{}
	for i, a := range answers {
		if a.Err == nil && seen[a.NodeID] {
			continue
		}
		if a.Err == nil {
			seen[a.NodeID] = true
		}
		to, out = append(to, addresses[i]), append(out, a)
	}
	return to, out
}

func addressOf(m pushwal.Member) string {
	return net.JoinHostPort(m.Host, strconv.Itoa(int(m.Port)))
}
