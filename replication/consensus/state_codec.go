package consensus

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// stateVersion is the newest version of State's form. Raise it with every
// change, and keep reading the older ones.
//
// Version 2, integers big endian, strings with a u16 length, lists with a u32
// count:
//
//	version          u8
//	tenant, timeline 16 bytes each
//	system id        u64
//	PG version       u32
//	segment size     u32
//	start            u64
//	incarnation      16 bytes
//	joining          u8
//	configuration    generation u32, members, new members
//	                 (member: node u64, host string, port u16, incarnation 16 bytes)
//	accepted         generation u32, term u64
//	proposed         a configuration, not in version 1
//	term             u64
//	history          list of term u64, LSN u64
//	PG history       last u32, list of TLI u32, switch u64, reason string
//	commit, truncate, remote consistent, backup   u64 each
//
// Version 1, which has no proposed configuration, is still written when there is
// none: programs that cannot change a membership read it. The control file around
// it has the checksum.
const stateVersion = 2

var errState = errors.New("malformed acceptor state")

// MarshalBinary encodes the state; the form carries its version.
func (s State) MarshalBinary() ([]byte, error) {
	b := make([]byte, 0, 256)
	version := byte(stateVersion)
	if s.Proposed.Generation == 0 {
		version = 1
	}
	b = append(b, version)
	b = append(b, s.ID.Tenant[:]...)
	b = append(b, s.ID.Timeline[:]...)
	b = u64(b, s.SystemID)
	b = u32(b, s.PGVersion)
	b = u32(b, s.SegmentSize)
	b = u64(b, s.Start)
	b = append(b, s.Incarnation[:]...)
	b = append(b, flag(s.Joining))
	b = u32(b, s.Configuration.Generation)
	b = appendMembers(b, s.Configuration.Members)
	b = appendMembers(b, s.Configuration.NewMembers)
	b = u32(b, s.Accepted.Generation)
	b = u64(b, s.Accepted.Term)
	if version > 1 {
		b = u32(b, s.Proposed.Generation)
		b = appendMembers(b, s.Proposed.Members)
		b = appendMembers(b, s.Proposed.NewMembers)
	}
	b = u64(b, s.Term)
	b = u32(b, uint32(len(s.History)))
	for _, e := range s.History {
		b = u64(u64(b, e.Term), e.LSN)
	}
	b = u32(b, s.TLIHistory.Last)
	b = u32(b, uint32(len(s.TLIHistory.Ancestors)))
	for _, e := range s.TLIHistory.Ancestors {
		b = text(u64(u32(b, e.TLI), e.Switch), e.Reason)
	}
	for _, l := range []wal.LSN{s.CommitLSN, s.TruncateLSN, s.RemoteConsistentLSN, s.BackupLSN} {
		b = u64(b, l)
	}
	return b, nil
}

func u32[T ~uint32](b []byte, v T) []byte { return binary.BigEndian.AppendUint32(b, uint32(v)) }
func u64[T ~uint64](b []byte, v T) []byte { return binary.BigEndian.AppendUint64(b, uint64(v)) }

// text appends a string; what does not fit the length is commentary's end.
func text(b []byte, s string) []byte {
	s = s[:min(len(s), 1<<16-1)]
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

func flag(v bool) byte {
	if v {
		return 1
	}
	return 0
}

func appendMembers(b []byte, members []pushwal.Member) []byte {
	b = u32(b, uint32(len(members)))
	for _, m := range members {
		b = text(u64(b, m.ID), m.Host)
		b = binary.BigEndian.AppendUint16(b, m.Port)
		b = append(b, m.Incarnation[:]...)
	}
	return b
}

// UnmarshalBinary decodes what MarshalBinary wrote and checks it. With an error
// s is undefined.
func (s *State) UnmarshalBinary(b []byte) error {
	*s = State{}
	d := stateReader{rest: b}
	version := d.u8()
	if (version == 0 || version > stateVersion) && !d.short {
		return fmt.Errorf("decode acceptor state: version %d is not known to this program, which writes %d", version, stateVersion)
	}
	d.bytes(s.ID.Tenant[:])
	d.bytes(s.ID.Timeline[:])
	s.SystemID = wal.SystemID(d.u64())
	s.PGVersion = d.u32()
	s.SegmentSize = wal.SegmentSize(d.u32())
	s.Start = d.lsn()
	d.bytes(s.Incarnation[:])
	s.Joining = d.u8() != 0
	s.Configuration = d.configuration()
	s.Accepted.Generation = pushwal.Generation(d.u32())
	s.Accepted.Term = wal.Term(d.u64())
	if version > 1 {
		s.Proposed = d.configuration()
	}
	s.Term = wal.Term(d.u64())
	for range d.count(16) {
		s.History = append(s.History, pushwal.TermLSN{Term: wal.Term(d.u64()), LSN: d.lsn()})
	}
	s.TLIHistory.Last = wal.TLI(d.u32())
	for range d.count(14) {
		s.TLIHistory.Ancestors = append(s.TLIHistory.Ancestors,
			wal.HistoryEntry{TLI: wal.TLI(d.u32()), Switch: d.lsn(), Reason: d.text()})
	}
	s.CommitLSN, s.TruncateLSN, s.RemoteConsistentLSN, s.BackupLSN = d.lsn(), d.lsn(), d.lsn(), d.lsn()
	switch {
	case d.short:
		return fmt.Errorf("decode acceptor state: too short: %w", errState)
	case len(d.rest) > 0:
		return fmt.Errorf("decode acceptor state: %d bytes too long: %w", len(d.rest), errState)
	}
	return s.validate()
}

func (s *State) validate() error {
	switch {
	case !s.History.Valid(), lastTerm(s.History) > s.Term, s.Term >= maxTerm:
		return fmt.Errorf("decode acceptor state: term history of term %d: %w", s.Term, errState)
	case s.TLIHistory.Last != 0 && !s.TLIHistory.Valid(), s.TLIHistory.Last == 0 && len(s.TLIHistory.Ancestors) > 0:
		return fmt.Errorf("decode acceptor state: timeline history: %w", errState)
	case !s.SegmentSize.Valid():
		return fmt.Errorf("decode acceptor state: segment size %d: %w", uint32(s.SegmentSize), errState)
	}
	for _, c := range []pushwal.Configuration{s.Configuration, s.Proposed} {
		if err := c.Validate(); err != nil {
			return fmt.Errorf("decode acceptor state: %w: %w", err, errState)
		}
	}
	return nil
}

// stateReader reads fields in order; the first one that is not there sets short.
type stateReader struct {
	rest  []byte
	short bool
}

func (d *stateReader) take(n int) []byte {
	if n > len(d.rest) {
		d.short, d.rest = true, nil
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *stateReader) bytes(dst []byte) { copy(dst, d.take(len(dst))) }

func (d *stateReader) uint(n int) (v uint64) {
	for _, c := range d.take(n) {
		v = v<<8 | uint64(c)
	}
	return v
}

func (d *stateReader) u8() uint8    { return uint8(d.uint(1)) }
func (d *stateReader) u32() uint32  { return uint32(d.uint(4)) }
func (d *stateReader) u64() uint64  { return d.uint(8) }
func (d *stateReader) lsn() wal.LSN { return wal.LSN(d.u64()) }
func (d *stateReader) text() string { return string(d.take(int(d.uint(2)))) }

// count reads a number of elements of at least size bytes each and refuses one
// that the rest cannot hold.
func (d *stateReader) count(size int) int {
	n := d.u32()
	if uint64(n)*uint64(size) > uint64(len(d.rest)) {
		d.short, d.rest = true, nil
		return 0
	}
	return int(n)
}

func (d *stateReader) configuration() (c pushwal.Configuration) {
	c.Generation = pushwal.Generation(d.u32())
	c.Members = d.members()
	c.NewMembers = d.members()
	return c
}

func (d *stateReader) members() (out []pushwal.Member) {
	for range d.count(28) {
		m := pushwal.Member{ID: pushwal.NodeID(d.u64()), Host: d.text(), Port: uint16(d.uint(2))}
		d.bytes(m.Incarnation[:])
		out = append(out, m)
	}
	return out
}
