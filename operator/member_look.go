package operator

import (
	"context"
	"net"
	"slices"
	"strconv"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
)

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
		for _, m := range slices.Concat(a.Configuration.Members, a.Configuration.NewMembers) {
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
