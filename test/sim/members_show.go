package sim

import (
	"fmt"

	"github.com/walhaven/walhaven/protocol/pushwal"
)

func show(c pushwal.Configuration) string {
	text := func(set []pushwal.Member) (s []string) {
		for _, m := range set {
			s = append(s, fmt.Sprintf("%d.%d", m.ID, m.Incarnation[1]))
		}
		return s
	}
	return fmt.Sprint(text(c.Members), text(c.NewMembers))
}

// memberships describes who knows what, for a run that did not converge.
func (wd *World) memberships() (text string) {
	if wd.cfg.Spares == 0 {
		return ""
	}
	for _, n := range wd.nodes {
		if n.disk == nil {
			text += fmt.Sprintf("; node %d is empty", n.id)
			continue
		}
		s := n.disk.view().state
		text += fmt.Sprintf("; node %d.%d knows %d %s, joining %t, accepted %d %s in term %d, its term is %d",
			n.id, s.Incarnation[1], s.Configuration.Generation, show(s.Configuration), s.Joining,
			s.Proposed.Generation, show(s.Proposed), s.Accepted.Term, s.Term)
	}
	return text
}
