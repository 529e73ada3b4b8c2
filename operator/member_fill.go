package operator

import (
	"fmt"
	"slices"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
)

// unfillable says of a wanted node that nobody who answers keeps the WAL that it goes on
// with: the members removed it after it had joined. "" when there is none.
func (m *Members) unfillable(want pushwal.Configuration) string {
	for i, a := range m.view.Answers {
		wanted := func(k pushwal.Member) bool { return k.ID == a.NodeID && k.Incarnation == a.Incarnation }
		if a.Err != nil || !a.Joining || !slices.ContainsFunc(want.Members, wanted) {
			continue
		}
		next := a.FlushLSN
		if next <= a.Start {
			next = a.SegmentSize.SegmentStart(a.Start)
		}
		keeps := func(o replication.Answer) bool { return o.Err == nil && !o.Joining && o.Oldest <= next }
		if !slices.ContainsFunc(m.view.Answers, keeps) {
			return fmt.Sprintf("safekeeper %s goes on at %s, and no member that answers keeps that WAL any more: stop it, empty its data directory, "+
				"start it, and repeat this command; it begins where their WAL begins then", m.at[i], next)
		}
	}
	return ""
}
