package walcmd

import (
	"cmp"
	"maps"
	"slices"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/wal"
)

// Target is what a session's options say about the timeline that it talks
// about. Names and IDs are both accepted.
type Target struct {
	Tenant   string // 32 hexadecimal digits, or empty
	Timeline string // 32 hexadecimal digits or a name, or empty
}

// TargetOf reads the options tenant_id and timeline_id, under Neon's older
// names too, and applies the tenant that the identity is restricted to.
func TargetOf(s *protocol.Session) (Target, error) {
	first := func(names ...string) string {
		for _, name := range names {
			if v := s.Options[name]; v != "" {
				return v
			}
		}
		return ""
	}
	t := Target{
		Tenant:   first("tenant_id", "ztenantid"),
		Timeline: first("timeline_id", "ztimelineid", "timeline"),
	}
	if t.Tenant != "" {
		id, err := wal.ParseTenantID(t.Tenant)
		if err != nil {
			return t, protocol.Fatalf(protocol.CodeInvalidParameter, "%w", err)
		}
		t.Tenant = id.String()
	}
	allowed := s.Identity.Tenant
	if allowed == nil {
		return t, nil
	}
	if t.Tenant == "" {
		t.Tenant = allowed.String()
	}
	if t.Tenant != allowed.String() {
		return t, protocol.Fatalf(protocol.CodeInsufficientRight, "role %q may use tenant %s only", s.Identity.User, *allowed)
	}
	if only := s.Identity.Timeline; only != nil {
		if t.Timeline != "" && t.Timeline != only.String() {
			return t, protocol.Fatalf(protocol.CodeInsufficientRight, "this login may use timeline %s only", *only)
		}
		t.Timeline = only.String()
	}
	return t, nil
}

// Candidate is a timeline that a target may mean.
type Candidate struct {
	ID   wal.TTID
	Name string
}

// Choose returns the index of the one candidate that t means; found is false
// when there is none. Several are an error: nothing is guessed.
func (t Target) Choose(candidates []Candidate) (index int, found bool, err error) {
	for i, c := range candidates {
		if t.Tenant != "" && t.Tenant != c.ID.Tenant.String() {
			continue
		}
		if t.Timeline != "" && !t.meansTimeline(c) {
			continue
		}
		if found {
			return 0, false, protocol.Errorf(protocol.CodeInvalidParameter, "several timelines are here").
				WithHint("Choose one by options='-c tenant_id=... -c timeline_id=...'; SHOW TIMELINES lists them.")
		}
		index, found = i, true
	}
	return index, found, nil
}

func (t Target) meansTimeline(c Candidate) bool {
	if id, err := wal.ParseTimelineID(t.Timeline); err == nil {
		return id == c.ID.Timeline
	}
	return t.Timeline == c.Name
}

// Missing is the error for a target that nothing here fits.
func (t Target) Missing() error {
	if t == (Target{}) {
		return protocol.Errorf(protocol.CodeUndefinedObject, "no timeline is here yet").
			WithHint("Timelines are founded explicitly, by CREATE TIMELINE or walhaven attach.")
	}
	return protocol.Errorf(protocol.CodeUndefinedObject, "timeline %q of tenant %q does not exist here", t.Timeline, t.Tenant).
		WithHint("SHOW TIMELINES lists what is here.")
}

// SortedIDs returns the keys of m in the order of their text.
func SortedIDs[V any](m map[wal.TTID]V) []wal.TTID {
	return slices.SortedFunc(maps.Keys(m), func(a, b wal.TTID) int { return cmp.Compare(a.String(), b.String()) })
}
