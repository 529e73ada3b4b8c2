package pushwal

import (
	"encoding/binary"
	"fmt"

	"github.com/walhaven/walhaven/wal"
)

// A whole configuration is its generation and both sets, each member with its
// incarnation: generation u32, then per set a count u32 and per member node u64,
// host NUL, port u16, incarnation. It is ours alone; Neon's form lacks the
// incarnations.

// memberSize is the least that a member of a whole configuration takes.
const memberSize = 8 + 1 + 2 + len(Incarnation{})

func appendFull(dst []byte, c *Configuration) []byte {
	be := binary.BigEndian
	dst = be.AppendUint32(dst, uint32(c.Generation))
	for _, set := range [2][]Member{c.Members, c.NewMembers} {
		dst = be.AppendUint32(dst, uint32(len(set)))
		for i := range set {
			dst = be.AppendUint64(dst, uint64(set[i].ID))
			dst = append(append(dst, set[i].Host...), 0)
			dst = be.AppendUint16(dst, set[i].Port)
			dst = append(dst, set[i].Incarnation[:]...)
		}
	}
	return dst
}

// whole decodes a whole configuration.
func (d *decoder) whole(c *Configuration) error {
	return d.members(c, memberSize, func(m *Member) { copy(m.Incarnation[:], d.take(len(m.Incarnation))) })
}

// wholeValue decodes an option's value that is a whole configuration.
func wholeValue(key string, value []byte, c *Configuration) error {
	d := decoder{rest: value}
	if err := d.whole(c); err != nil {
		return fmt.Errorf("option %s: %w", key, err)
	}
	return d.end("option "+key, true)
}

// AppendConfigurationRequest appends m to dst. It exists in our form only.
func (c Codec) AppendConfigurationRequest(dst []byte, m *ConfigurationRequest) []byte {
	e := c.begin(dst, KindConfiguration)
	e.u32(uint32(m.Generation))
	e.u64(uint64(m.Term))
	return appendFull(e.b, &m.Config)
}

// DecodeConfigurationRequest decodes src into m.
func (c Codec) DecodeConfigurationRequest(src []byte, m *ConfigurationRequest) error {
	const what = "configuration request"
	*m = ConfigurationRequest{}
	d, err := c.openOurs(src, KindConfiguration, what)
	if err != nil {
		return err
	}
	m.Generation = Generation(d.u32())
	m.Term = wal.Term(d.u64())
	if err := d.whole(&m.Config); err != nil {
		return fmt.Errorf("decode %s: %w", what, err)
	}
	return d.end(what, false)
}

// AppendConfigurationResponse appends m to dst. It exists in our form only.
func (c Codec) AppendConfigurationResponse(dst []byte, m *ConfigurationResponse) []byte {
	e := c.begin(dst, KindConfiguration)
	e.u32(uint32(m.Generation))
	e.u64(uint64(m.Term))
	e.u32(uint32(m.Accepted))
	e.u64(uint64(m.AcceptedTerm))
	return e.b
}

// DecodeConfigurationResponse decodes src into m.
func (c Codec) DecodeConfigurationResponse(src []byte, m *ConfigurationResponse) error {
	const what = "configuration response"
	*m = ConfigurationResponse{}
	d, err := c.openOurs(src, KindConfiguration, what)
	if err != nil {
		return err
	}
	m.Generation = Generation(d.u32())
	m.Term = wal.Term(d.u64())
	m.Accepted = Generation(d.u32())
	m.AcceptedTerm = wal.Term(d.u64())
	return d.end(what, true)
}

// AppendMembershipRequest appends m to dst. It exists in our form only.
func (c Codec) AppendMembershipRequest(dst []byte, m *MembershipRequest) []byte {
	e := c.begin(dst, KindMembership)
	return appendFull(e.b, &m.Config)
}

// DecodeMembershipRequest decodes src into m.
func (c Codec) DecodeMembershipRequest(src []byte, m *MembershipRequest) error {
	const what = "membership request"
	*m = MembershipRequest{}
	d, err := c.openOurs(src, KindMembership, what)
	if err != nil {
		return err
	}
	if err := d.whole(&m.Config); err != nil {
		return fmt.Errorf("decode %s: %w", what, err)
	}
	return d.end(what, true)
}

// openOurs begins a message that only our options make known.
func (c Codec) openOurs(src []byte, kind byte, what string) (decoder, error) {
	if !c.options() {
		return decoder{}, fmt.Errorf("decode %s: walhaven's options were not negotiated: %w", what, ErrMalformed)
	}
	return c.open(src, kind, what)
}
