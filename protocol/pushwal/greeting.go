package pushwal

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"unicode/utf8"

	"github.com/walhaven/walhaven/wal"
)

// AppendProposerGreeting appends m to dst.
func (c Codec) AppendProposerGreeting(dst []byte, m *ProposerGreeting) []byte {
	e := c.begin(dst, KindGreeting)
	if c.Version == Version2 {
		e.u32(uint32(Version2))
		e.u32(m.PGVersion)
		e.b = append(e.b, make([]byte, 16)...) // the proposer's ID of old
		e.u64(uint64(m.SystemID))
		e.b = append(e.b, m.TTID.Timeline[:]...)
		e.b = append(e.b, m.TTID.Tenant[:]...)
		e.u32(uint32(m.TLI))
		e.u32(uint32(m.SegmentSize))
		return e.b
	}
	e.b = append(hex.AppendEncode(e.b, m.TTID.Tenant[:]), 0)
	e.b = append(hex.AppendEncode(e.b, m.TTID.Timeline[:]), 0)
	e.configuration(&m.Config)
	e.u32(m.PGVersion)
	e.u64(uint64(m.SystemID))
	e.u32(uint32(m.SegmentSize))
	if !c.options() {
		return e.b
	}
	w := beginOptions(e.b)
	if !m.Instance.IsZero() {
		w.bytes(keyInstance, m.Instance[:])
	}
	if m.TLI != 0 {
		w.u32(keyTLI, uint32(m.TLI))
	}
	if m.NodeID != 0 {
		w.u64(keyNodeID, uint64(m.NodeID))
	}
	if m.Name != "" {
		w.bytes(keyName, []byte(m.Name))
	}
	if m.Start != 0 {
		w.u64(keyStart, uint64(m.Start))
	}
	if m.TLIHistory.Last != 0 {
		w.tliHistory(m.TLIHistory)
	}
	w.incarnations(&m.Config)
	return w.b
}

// DecodeProposerGreeting decodes src into m.
func (c Codec) DecodeProposerGreeting(src []byte, m *ProposerGreeting) error {
	const what = "proposer greeting"
	*m = ProposerGreeting{}
	d, err := c.open(src, KindGreeting, what)
	if err != nil {
		return err
	}
	if c.Version == Version2 {
		if v := d.u32(); !d.short && v != uint32(Version2) {
			return d.malformed(what, fmt.Sprintf("says protocol version %d", v))
		}
		m.PGVersion = d.u32()
		d.take(16)
		m.SystemID = wal.SystemID(d.u64())
		copy(m.TTID.Timeline[:], d.take(16))
		copy(m.TTID.Tenant[:], d.take(16))
		m.TLI = wal.TLI(d.u32())
		m.SegmentSize = wal.SegmentSize(d.u32())
		return d.end(what, false)
	}
	if !d.hexID(m.TTID.Tenant[:]) || !d.hexID(m.TTID.Timeline[:]) {
		return d.malformed(what, "tenant and timeline must be 32 hexadecimal digits each")
	}
	if err := d.configuration(&m.Config); err != nil {
		return fmt.Errorf("decode %s: %w", what, err)
	}
	m.PGVersion = d.u32()
	m.SystemID = wal.SystemID(d.u64())
	m.SegmentSize = wal.SegmentSize(d.u32())
	if c.options() && len(d.rest) > 0 {
		if err := d.proposerOptions(m); err != nil {
			return fmt.Errorf("decode %s: %w", what, err)
		}
	}
	return d.end(what, false)
}

func (d *decoder) proposerOptions(m *ProposerGreeting) (err error) {
	for n := d.u8(); n > 0 && !d.short && err == nil; n-- {
		key, value := d.option()
		if d.short {
			break
		}
		switch string(key) {
		case keyInstance:
			err = fixed(keyInstance, m.Instance[:], value)
		case keyTLI:
			err = u32Value(keyTLI, value, (*uint32)(&m.TLI))
		case keyNodeID:
			err = u64Value(keyNodeID, value, (*uint64)(&m.NodeID))
		case keyName:
			if len(value) > MaxName || !utf8.Valid(value) {
				return badLength(keyName, len(value))
			}
			m.Name = string(value)
		case keyStart:
			err = u64Value(keyStart, value, (*uint64)(&m.Start))
		case keyTLIHistory:
			err = parseTLIHistory(value, &m.TLIHistory)
		default:
			err = m.Config.incarnationOption(string(key), value)
		}
	}
	return err
}

// AppendAcceptorGreeting appends m to dst.
func (c Codec) AppendAcceptorGreeting(dst []byte, m *AcceptorGreeting) []byte {
	e := c.begin(dst, KindGreeting)
	if c.Version == Version2 {
		e.u64(uint64(m.Term))
		e.u64(uint64(m.NodeID))
		return e.b
	}
	e.u64(uint64(m.NodeID))
	e.configuration(&m.Config)
	e.u64(uint64(m.Term))
	if !c.options() || m.Options == nil {
		return e.b
	}
	w := beginOptions(e.b)
	w.u32(keyWalhaven, m.Options.Walhaven)
	w.bytes(keyIncarnation, m.Options.Incarnation[:])
	w.u8(keyJoining, flag(m.Options.Joining))
	w.u32(keyTLI, uint32(m.Options.TLI))
	w.incarnations(&m.Config)
	if m.Options.Start != 0 {
		w.u64(keyStart, uint64(m.Options.Start))
	}
	if m.Options.LastRecordLSN != 0 {
		w.u64(keyLastRecordLSN, uint64(m.Options.LastRecordLSN))
	}
	return w.b
}

// DecodeAcceptorGreeting decodes src into m.
func (c Codec) DecodeAcceptorGreeting(src []byte, m *AcceptorGreeting) error {
	const what = "acceptor greeting"
	*m = AcceptorGreeting{}
	d, err := c.open(src, KindGreeting, what)
	if err != nil {
		return err
	}
	if c.Version == Version2 {
		m.Term = wal.Term(d.u64())
		m.NodeID = NodeID(d.u64())
		return d.end(what, true)
	}
	m.NodeID = NodeID(d.u64())
	if err := d.configuration(&m.Config); err != nil {
		return fmt.Errorf("decode %s: %w", what, err)
	}
	m.Term = wal.Term(d.u64())
	if c.options() && len(d.rest) > 0 {
		m.Options = new(AcceptorOptions)
		if err := d.acceptorOptions(m); err != nil {
			return fmt.Errorf("decode %s: %w", what, err)
		}
	}
	return d.end(what, true)
}

func (d *decoder) acceptorOptions(m *AcceptorGreeting) (err error) {
	o := m.Options
	for n := d.u8(); n > 0 && !d.short && err == nil; n-- {
		key, value := d.option()
		if d.short {
			break
		}
		switch string(key) {
		case keyWalhaven:
			err = u32Value(keyWalhaven, value, &o.Walhaven)
		case keyIncarnation:
			err = fixed(keyIncarnation, o.Incarnation[:], value)
		case keyJoining:
			var v uint8
			err = u8Value(keyJoining, value, &v)
			o.Joining = v != 0
		case keyTLI:
			err = u32Value(keyTLI, value, (*uint32)(&o.TLI))
		case keyStart:
			err = u64Value(keyStart, value, (*uint64)(&o.Start))
		case keyLastRecordLSN:
			err = u64Value(keyLastRecordLSN, value, (*uint64)(&o.LastRecordLSN))
		default:
			err = m.Config.incarnationOption(string(key), value)
		}
	}
	if err == nil && !d.short && o.Walhaven == 0 {
		err = fmt.Errorf("option %s is missing: %w", keyWalhaven, ErrMalformed)
	}
	return err
}

// hexID reads a NUL-terminated identifier in hexadecimal digits.
func (d *decoder) hexID(dst []byte) bool {
	s := d.cstr()
	if len(s) != 2*len(dst) {
		return false
	}
	_, err := hex.Decode(dst, s)
	return err == nil
}

func (e *encoder) configuration(c *Configuration) {
	e.u32(uint32(c.Generation))
	for _, set := range [2][]Member{c.Members, c.NewMembers} {
		e.u32(uint32(len(set)))
		for i := range set {
			e.u64(uint64(set[i].ID))
			e.cstr(set[i].Host)
			e.u16(set[i].Port)
		}
	}
}

// configuration decodes Neon's form, which has no incarnations.
func (d *decoder) configuration(c *Configuration) error {
	return d.members(c, 8+1+2, func(*Member) {})
}

// members decodes a configuration, each member of at least size bytes: what both
// forms have, and then what more reads.
func (d *decoder) members(c *Configuration, size int, more func(*Member)) error {
	c.Generation = Generation(d.u32())
	for _, set := range [2]*[]Member{&c.Members, &c.NewMembers} {
		n := d.count(size)
		if n > MaxMembers {
			return fmt.Errorf("membership configuration of %d nodes, at most %d are possible: %w", n, MaxMembers, ErrMalformed)
		}
		for ; n > 0 && !d.short; n-- {
			m := Member{ID: NodeID(d.u64())}
			host := d.cstr()
			if !utf8.Valid(host) {
				return fmt.Errorf("host of node %d is not UTF-8: %w", m.ID, ErrMalformed)
			}
			m.Host, m.Port = string(host), d.u16()
			more(&m)
			*set = append(*set, m)
		}
	}
	if d.short {
		return nil // reported by end
	}
	if err := c.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}

// incarnations adds the known incarnations of the members, each node once, and
// those of new members that replace one of the same ID.
func (w *optionWriter) incarnations(c *Configuration) {
	var once, replaced []Member
	for i := range c.Members {
		if !c.Members[i].Incarnation.IsZero() {
			once = append(once, c.Members[i])
		}
	}
	for i := range c.NewMembers {
		m := &c.NewMembers[i]
		old := c.member(m.ID)
		switch {
		case old == nil || old.Incarnation.IsZero():
			if !m.Incarnation.IsZero() {
				once = append(once, *m)
			}
		case m.Incarnation != old.Incarnation:
			replaced = append(replaced, *m)
		}
	}
	w.incarnationList(keyIncarnations, once)
	w.incarnationList(keyNewMembers, replaced)
}

func (w *optionWriter) incarnationList(key string, members []Member) {
	if len(members) == 0 {
		return
	}
	w.key(key, len(members)*incarnationSize)
	for i := range members {
		w.b = binary.BigEndian.AppendUint64(w.b, uint64(members[i].ID))
		w.b = append(w.b, members[i].Incarnation[:]...)
	}
}

// member returns the node's entry among the (old) members, nil when it is none.
func (c *Configuration) member(id NodeID) *Member {
	for i := range c.Members {
		if c.Members[i].ID == id {
			return &c.Members[i]
		}
	}
	return nil
}

// incarnationOption takes an option that gives members their incarnations; others
// are ignored.
func (c *Configuration) incarnationOption(key string, value []byte) error {
	switch key {
	case keyIncarnations:
		return setIncarnations(key, value, c.Members, c.NewMembers)
	case keyNewMembers:
		return setIncarnations(key, value, c.NewMembers)
	}
	return nil
}

// setIncarnations gives each member its incarnation; those of other nodes are
// ignored.
func setIncarnations(key string, value []byte, sets ...[]Member) error {
	if len(value)%incarnationSize != 0 {
		return badLength(key, len(value))
	}
	d := decoder{rest: value}
	for len(d.rest) > 0 {
		id, incarnation := NodeID(d.u64()), Incarnation(d.take(len(Incarnation{})))
		for _, set := range sets {
			for i := range set {
				if set[i].ID == id {
					set[i].Incarnation = incarnation
				}
			}
		}
	}
	return nil
}
