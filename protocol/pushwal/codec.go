package pushwal

// Version is the version of START_WAL_PUSH's messages, option proto_version.
type Version int

// Versions that exist. Neon's acceptor takes Version2 when the option is
// absent; its proposer asks for Version3.
const (
	Version2 Version = 2 // little endian, C structs as they lie in memory
	Version3 Version = 3 // big endian, packed, membership
)

// Kinds of messages, the first byte of each in both versions.
const (
	KindGreeting = 'g'
	KindVote     = 'v'
	KindElected  = 'e'
	KindAppend   = 'a'
)

// Codec encodes and decodes messages. The zero value is of no use: Version
// must be set.
type Codec struct {
	Version Version

	// Walhaven says that our options are in use: from a proposer's greeting on
	// if it asked for them, for all else once the acceptor's greeting answered.
	// It counts in Version3 only; Neon's version 2 is served as it is.
	Walhaven bool
}

// Kind returns the kind of the message in src, 0 when src is empty.
func Kind(src []byte) byte {
	if len(src) == 0 {
		return 0
	}
	return src[0]
}

// AppendProposerGreeting appends m to dst.
func (c Codec) AppendProposerGreeting(dst []byte, m *ProposerGreeting) []byte { panic("todo") }

// AppendAcceptorGreeting appends m to dst.
func (c Codec) AppendAcceptorGreeting(dst []byte, m *AcceptorGreeting) []byte { panic("todo") }

// AppendVoteRequest appends m to dst.
func (c Codec) AppendVoteRequest(dst []byte, m *VoteRequest) []byte { panic("todo") }

// AppendVoteResponse appends m to dst.
func (c Codec) AppendVoteResponse(dst []byte, m *VoteResponse) []byte { panic("todo") }

// AppendProposerElected appends m to dst.
func (c Codec) AppendProposerElected(dst []byte, m *ProposerElected) []byte { panic("todo") }

// AppendAppendRequestHeader appends m without its WAL, which the caller sends
// behind it (CopyStream.Send(header, wal)).
func (c Codec) AppendAppendRequestHeader(dst []byte, m *AppendRequest) []byte { panic("todo") }

// AppendAppendResponse appends m to dst.
func (c Codec) AppendAppendResponse(dst []byte, m *AppendResponse) []byte { panic("todo") }

// DecodeProposerGreeting decodes src into m.
func (c Codec) DecodeProposerGreeting(src []byte, m *ProposerGreeting) error { panic("todo") }

// DecodeAcceptorGreeting decodes src into m.
func (c Codec) DecodeAcceptorGreeting(src []byte, m *AcceptorGreeting) error { panic("todo") }

// DecodeVoteRequest decodes src into m.
func (c Codec) DecodeVoteRequest(src []byte, m *VoteRequest) error { panic("todo") }

// DecodeVoteResponse decodes src into m.
func (c Codec) DecodeVoteResponse(src []byte, m *VoteResponse) error { panic("todo") }

// DecodeProposerElected decodes src into m.
func (c Codec) DecodeProposerElected(src []byte, m *ProposerElected) error { panic("todo") }

// DecodeAppendRequest decodes src into m; m.WAL aliases src.
func (c Codec) DecodeAppendRequest(src []byte, m *AppendRequest) error { panic("todo") }

// DecodeAppendResponse decodes src into m.
func (c Codec) DecodeAppendResponse(src []byte, m *AppendResponse) error { panic("todo") }
