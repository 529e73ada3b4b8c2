package safekeeper

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walstore"
)

// founding is what CREATE TIMELINE says.
type founding struct {
	id          wal.TTID
	name        string
	systemID    wal.SystemID
	pgVersion   uint32
	segmentSize wal.SegmentSize
	start       wal.LSN
	history     wal.TimelineHistory
	config      pushwal.Configuration
	joining     bool
	terms       pushwal.TermHistory // of the WAL below start, on a node that joins
}

// maxNameLen bounds a timeline's name, in bytes.
const maxNameLen = pushwal.MaxName

// parseFounding reads the options of CREATE TIMELINE. Unknown ones are
// refused: a misspelt option must not found something else than was meant.
func parseFounding(id wal.TTID, options map[string]string) (founding, error) {
	f := founding{id: id, name: "main", segmentSize: wal.DefaultSegmentSize, history: wal.TimelineHistory{Last: 1}}
	p := &optionParser{options: options}
	p.take("name", func(v string) error { f.name = v; return checkName(v) })
	p.take("system_id", func(v string) (err error) { f.systemID, err = wal.ParseSystemID(v); return err })
	p.take("pg_version", func(v string) (err error) { f.pgVersion, err = parseVersion(v); return err })
	p.take("wal_segment_size", func(v string) (err error) { f.segmentSize, err = parseSegmentBytes(v); return err })
	p.take("start_lsn", func(v string) (err error) { f.start, err = wal.ParseLSN(v); return err })
	p.take("tli", func(v string) error {
		n, err := strconv.ParseUint(v, 10, 32)
		f.history.Last = wal.TLI(n)
		return err
	})
	p.take("tli_history", func(v string) (err error) {
		f.history, err = parseHistory(f.history.Last, options["tli"], v)
		return err
	})
	p.take("members", func(v string) (err error) { f.config.Members, err = parseMembers(v); return err })
	p.take("generation", func(v string) error {
		n, err := strconv.ParseUint(v, 10, 32)
		f.config.Generation = pushwal.Generation(n)
		return err
	})
	p.take("incarnations", func(v string) error { return setIncarnations(f.config.Members, v) })
	p.take("joining", func(v string) (err error) { f.joining, err = strconv.ParseBool(v); return err })
	p.take("term_history", func(v string) (err error) { f.terms, err = replication.ParseTermHistory(v); return err })
	if err := p.finish(); err != nil {
		return f, err
	}
	if f.config.Generation == 0 && len(f.config.Members) > 0 {
		f.config.Generation = 1
	}
	// One order everywhere: members that name each other in another order would
	// take each other for another membership.
	f.config.Members = sortedMembers(f.config.Members)
	return f, f.check()
}

// check applies what must hold before anything is written.
func (f *founding) check() error {
	invalid := func(format string, args ...any) *protocol.Error {
		return protocol.Errorf(protocol.CodeInvalidParameter, "CREATE TIMELINE: "+format, args...)
	}
	major := f.pgVersion / 10000
	switch {
	case f.id.Tenant.IsZero() || f.id.Timeline.IsZero():
		return invalid("tenant and timeline ID must not be zero")
	case f.systemID == 0:
		return invalid("system_id is required")
	case major < 14 || major > 18:
		return invalid("pg_version %d is not supported (140000 to 189999)", f.pgVersion)
	case f.start == 0 || f.start%8 != 0:
		return invalid("start_lsn %s is not the position of a record", f.start)
	case !f.history.Valid():
		return invalid("tli_history is not valid")
	case len(f.terms) > 0 && (!f.joining || !f.terms.Valid() || f.terms[0].LSN >= f.start || f.terms[len(f.terms)-1].LSN > f.start):
		return invalid("term_history is for a node that joins, and tells the terms of the WAL below start_lsn")
	case len(f.config.Members) == 0:
		return invalid("members is required").
			WithHint("Name all members, like members '1=host1:5454,2=host2:5454,3=host3:5454'.")
	case f.config.Generation > 1 && !f.joining:
		// The highest generation is believed. Later ones than the first are chosen by
		// the members, not founded.
		return invalid("a timeline is founded in membership generation 1, not in %d", f.config.Generation)
	}
	if err := f.config.Validate(); err != nil {
		return invalid("%w", err)
	}
	return nil
}

// checkMember says whether this node may found the timeline: it is named, and
// unless it joins, with the incarnation that its data directory has. A founding
// member knows everybody's incarnation from then on, so that a data directory
// that is replaced later is not taken for the member that it was.
func (f *founding) checkMember(self pushwal.NodeID, own pushwal.Incarnation) error {
	i := slices.IndexFunc(f.config.Members, func(m pushwal.Member) bool { return m.ID == self })
	if i < 0 && !f.joining {
		return protocol.Errorf(protocol.CodeInvalidParameter, "node %d is not among the members %s", self, formatMembers(f.config.Members))
	}
	if f.joining {
		return nil
	}
	if m := &f.config.Members[i]; m.Incarnation.IsZero() {
		m.Incarnation = own
	} else if m.Incarnation != own {
		return protocol.Errorf(protocol.CodeInvalidParameter,
			"node %d has incarnation %s, not %s: its data directory is another one", self, own, m.Incarnation).
			WithHint("A replaced data directory joins: joining 'true'. The walproposer does that by itself.")
	}
	for _, m := range f.config.Members {
		if m.Incarnation.IsZero() {
			return protocol.Errorf(protocol.CodeInvalidParameter, "CREATE TIMELINE: the incarnation of node %d is required", m.ID).
				WithHint("Name those of all members, like incarnations '1=<hex>,2=<hex>,3=<hex>'; see SHOW NODE on each.")
		}
	}
	return nil
}

// control is the durable form of a founding on a node with the given
// incarnation, which may have voted in term already.
func (f *founding) control(own pushwal.Incarnation, term wal.Term) (walstore.Control, error) {
	state := consensus.Founding(consensus.State{
		ID: f.id, SystemID: f.systemID, PGVersion: f.pgVersion, SegmentSize: f.segmentSize,
		Start: f.start, Incarnation: own, Joining: f.joining, Configuration: f.config,
		Accepted:   consensus.AcceptedConfig{Generation: f.config.Generation},
		TLIHistory: f.history, History: f.terms,
	})
	state.Term = max(state.Term, term)
	raw, err := state.MarshalBinary()
	if err != nil {
		return walstore.Control{}, fmt.Errorf("encode founding state: %w", err)
	}
	if err := new(consensus.State).UnmarshalBinary(raw); err != nil { // else it would be founded, and never load
		return walstore.Control{}, protocol.Errorf(protocol.CodeInvalidParameter, "CREATE TIMELINE: %w", err)
	}
	return walstore.Control{
		ID: f.id, Name: f.name, SystemID: f.systemID, PGVersion: f.pgVersion,
		SegmentSize: f.segmentSize, Start: f.start, History: f.history, State: raw,
	}, nil
}

// matches says whether an existing timeline is the one that f would found: what
// a timeline is born with and never changes, and the generation it was born in
// or a later one. Incarnations that both sides know are the same: another one is
// a data directory that was replaced, which nobody may found as if it were new.
func (f *founding) matches(c walstore.Control, s consensus.State) bool {
	h, known := c.History.Upto(f.history.Last)
	return c.ID == f.id && c.Name == f.name && c.SystemID == f.systemID && c.PGVersion/10000 == f.pgVersion/10000 &&
		c.SegmentSize == f.segmentSize && c.Start == f.start && known && h.Equal(f.history) &&
		(s.Configuration.Generation > f.config.Generation ||
			formatMembers(sortedMembers(s.Configuration.Members)) == formatMembers(f.config.Members) &&
				len(f.replaced(s)) == 0)
}

func sortedMembers(members []pushwal.Member) []pushwal.Member {
	return slices.SortedFunc(slices.Values(members), func(a, b pushwal.Member) int { return cmp.Compare(a.ID, b.ID) })
}

// replaced returns the members of which s knows another incarnation.
func (f *founding) replaced(s consensus.State) (ids []pushwal.NodeID) {
	for _, m := range f.config.Members {
		for _, k := range s.Configuration.Members {
			if k.ID == m.ID && k.Incarnation != m.Incarnation && !k.Incarnation.IsZero() && !m.Incarnation.IsZero() {
				ids = append(ids, m.ID)
			}
		}
	}
	return ids
}

// optionParser applies options by name and keeps the first error.
type optionParser struct {
	options map[string]string
	known   []string
	err     error
}

func (p *optionParser) take(name string, apply func(string) error) {
	p.known = append(p.known, name)
	v, ok := p.options[name]
	if !ok || p.err != nil {
		return
	}
	if err := apply(v); err != nil {
		p.err = protocol.Errorf(protocol.CodeInvalidParameter, "option %s: %w", name, err)
	}
}

func (p *optionParser) finish() error {
	if p.err != nil {
		return p.err
	}
	for name := range p.options {
		known := false
		for _, k := range p.known {
			known = known || k == name
		}
		if !known {
			return protocol.Errorf(protocol.CodeSyntaxError, "unrecognized option: %s", name).
				WithHint("Known options: %s.", strings.Join(p.known, ", "))
		}
	}
	return nil
}

func checkName(name string) error {
	if name == "" || len(name) > maxNameLen || strings.ContainsAny(name, " \t\r\n,='\"/\\\x00") {
		return fmt.Errorf("invalid timeline name %q: 1 to %d bytes without blanks, quotes, commas, slashes and =", name, maxNameLen)
	}
	return nil
}

// parseVersion reads PG_VERSION_NUM.
func parseVersion(v string) (uint32, error) {
	n, err := strconv.ParseUint(v, 10, 32)
	return uint32(n), err
}

// parseSegmentBytes reads a segment size in bytes or in the form of SHOW.
func parseSegmentBytes(v string) (wal.SegmentSize, error) {
	if strings.HasSuffix(v, "B") {
		return wal.ParseSegmentSize(v)
	}
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil {
		return 0, err
	}
	if !wal.SegmentSize(n).Valid() {
		return 0, fmt.Errorf("%d is not a power of two from 1 MiB to 1 GiB", n)
	}
	return wal.SegmentSize(n), nil
}

// parseHistory reads a history file's text for timeline tli. Without option
// tli the timeline follows its last ancestor directly.
func parseHistory(tli wal.TLI, tliOption, text string) (wal.TimelineHistory, error) {
	if tliOption != "" {
		return wal.ParseTimelineHistory(tli, []byte(text))
	}
	probe, err := wal.ParseTimelineHistory(1<<32-1, []byte(text))
	if err != nil {
		return probe, err
	}
	last := wal.TLI(1)
	if n := len(probe.Ancestors); n > 0 {
		last = probe.Ancestors[n-1].TLI + 1
	}
	return wal.ParseTimelineHistory(last, []byte(text))
}

// parseMembers reads "1=host:port,2=host:port".
func parseMembers(s string) ([]pushwal.Member, error) {
	var out []pushwal.Member
	for _, part := range strings.Split(s, ",") {
		id, addr, ok := strings.Cut(strings.TrimSpace(part), "=")
		n, err := strconv.ParseUint(id, 10, 64)
		if !ok || err != nil || n == 0 {
			return nil, fmt.Errorf("invalid member %q: expected ID=HOST:PORT", part)
		}
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, fmt.Errorf("member %d: %w", n, err)
		}
		num, err := strconv.ParseUint(port, 10, 16)
		if err != nil || num == 0 {
			return nil, fmt.Errorf("member %d: invalid port %q", n, port)
		}
		out = append(out, pushwal.Member{ID: pushwal.NodeID(n), Host: host, Port: uint16(num)})
	}
	return out, nil
}

// formatMembers writes what parseMembers reads.
func formatMembers(members []pushwal.Member) string {
	parts := make([]string, len(members))
	for i, m := range members {
		parts[i] = fmt.Sprintf("%d=%s", m.ID, memberAddress(m))
	}
	return strings.Join(parts, ",")
}

func memberAddress(m pushwal.Member) string {
	return net.JoinHostPort(m.Host, strconv.Itoa(int(m.Port)))
}

// setIncarnations reads "1=<hex>,2=<hex>" into members.
func setIncarnations(members []pushwal.Member, s string) error {
	for _, part := range strings.Split(s, ",") {
		id, text, _ := strings.Cut(strings.TrimSpace(part), "=")
		n, err := strconv.ParseUint(id, 10, 64)
		if err != nil {
			return fmt.Errorf("invalid incarnation %q: expected ID=HEX", part)
		}
		inc, err := pushwal.ParseIncarnation(text)
		if err != nil {
			return err
		}
		found := false
		for i := range members {
			if members[i].ID == pushwal.NodeID(n) {
				members[i].Incarnation, found = inc, true
			}
		}
		if !found {
			return fmt.Errorf("node %d is not among the members", n)
		}
	}
	return nil
}
