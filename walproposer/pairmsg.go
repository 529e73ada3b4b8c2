package walproposer

import (
	"encoding/binary"
	"fmt"

	"github.com/walhaven/walhaven/internal/seqpacket"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// pairKind is what a message between the tap and a push worker is.
type pairKind byte

const (
	// Of the tap.
	pairBegin     pairKind = 'B' // what to work on, as JSON, with the queue's descriptors
	pairSend      pairKind = 'M' // a message of the proposer for the safekeeper
	pairStart     pairKind = 'S' // streaming begins
	pairPositions pairKind = 'C' // commit and what else moves; the safekeeper is to hear of it
	pairRing      pairKind = 'R' // there is WAL; with it goes the newest commit
	pairDrop      pairKind = 'D' // close the connection, and why
	pairAskFor    pairKind = 'K' // give the connection; nothing follows for it
	pairLogin     pairKind = 'L' // the answer to a question for a login, as JSON; conn is the question's number
	// Of the worker.
	pairHello    pairKind = 'H' // it is there; nothing else comes first
	pairOpen     pairKind = 'O' // a connection to the safekeeper stands
	pairReceived pairKind = 'A' // a message of the safekeeper
	pairOffer    pairKind = 'Y' // the connection keeps up and can be given
	pairGive     pairKind = 'G' // it, with its descriptor: where WAL goes on, and what came and was not passed on
	pairClosed   pairKind = 'X' // the connection is gone, and why
	pairFound    pairKind = 'U' // the safekeeper lacks the timeline
	pairStuck    pairKind = 'F' // it cannot be filled, and why; empty: it has caught up
	pairStarve   pairKind = 'N' // nobody gives the WAL that is needed next
	pairAsk      pairKind = 'Q' // it needs a login for a safekeeper, whose number is the body; conn numbers the question
	pairSuspect  pairKind = 'V' // the queue may be damaged
	pairPulse    pairKind = 'P' // the worker lives
)

// pairMessage is one packet between the tap and a push worker. What is set
// depends on kind.
type pairMessage struct {
	kind pairKind
	// more says that body goes on in the next packet.
	more bool
	// conn numbers the worker's connections to its safekeeper; messages about an
	// older one are void.
	conn uint32
	// body aliases the packet after decoding.
	body  []byte
	start streamStart
	state pairState
}

// pairState is what a worker knows about the others.
type pairState struct {
	positions
	donor     int32 // -1: nobody
	donorUpto wal.LSN
	quorum    bool
}

const (
	pairHeader = 6 // kind, flags, conn
	pairMore   = 1 // flag
	pairQuorum = 2 // flag
	// pairPart is the most bytes of a body that one packet carries.
	pairPart = 64 << 10
	// maxPairBody bounds a body put together of parts: what CopyData may be.
	maxPairBody = pushwal.MaxMessage

	startFixed   = 8 + 8 + 4 + 4 + 4 // at, term, generation, tli, ancestors
	startEntry   = 4 + 8             // tli, switch
	statePayload = 8 + 8 + 4 + 8
	ringPayload  = 8 + 8
)

// hasBody says whether kind carries bytes.
func (k pairKind) hasBody() bool {
	switch k {
	case pairBegin, pairSend, pairDrop, pairLogin, pairReceived, pairGive, pairClosed, pairStuck, pairAsk:
		return true
	}
	return false
}

// hasFiles says whether descriptors may come with kind.
func (k pairKind) hasFiles() bool { return k == pairBegin || k == pairGive }

// isBare says whether kind is all that there is to say.
func (k pairKind) isBare() bool {
	switch k {
	case pairHello, pairOpen, pairOffer, pairAskFor, pairFound, pairPulse, pairSuspect, pairStarve:
		return true
	}
	return false
}

// appendTo encodes m.
func (m *pairMessage) appendTo(dst []byte) []byte {
	var flags byte
	if m.more {
		flags |= pairMore
	}
	if m.kind == pairPositions && m.state.quorum {
		flags |= pairQuorum
	}
	dst = append(dst, byte(m.kind), flags)
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, m.conn)
	switch {
	case m.kind.hasBody():
		dst = append(dst, m.body...)
	case m.kind == pairStart:
		s := &m.start
		dst = le.AppendUint64(dst, uint64(s.at))
		dst = le.AppendUint64(dst, uint64(s.term))
		dst = le.AppendUint32(dst, uint32(s.generation))
		dst = le.AppendUint32(dst, uint32(s.history.Last))
		dst = le.AppendUint32(dst, uint32(len(s.history.Ancestors)))
		for _, a := range s.history.Ancestors {
			dst = le.AppendUint32(dst, uint32(a.TLI))
			dst = le.AppendUint64(dst, uint64(a.Switch))
		}
	case m.kind == pairRing:
		dst = le.AppendUint64(dst, uint64(m.state.commit))
		dst = le.AppendUint64(dst, uint64(m.state.truncate))
	case m.kind == pairPositions:
		dst = le.AppendUint64(dst, uint64(m.state.commit))
		dst = le.AppendUint64(dst, uint64(m.state.truncate))
		dst = le.AppendUint32(dst, uint32(m.state.donor))
		dst = le.AppendUint64(dst, uint64(m.state.donorUpto))
	}
	return dst
}

// decode reads one packet. m is overwritten; its body aliases src. What is too
// short, too long or of an unknown kind is refused.
func (m *pairMessage) decode(src []byte) error {
	if len(src) < pairHeader || len(src) > seqpacket.MaxMessage {
		return fmt.Errorf("message between tap and worker: %d bytes", len(src))
	}
	le := binary.LittleEndian
	*m = pairMessage{kind: pairKind(src[0]), more: src[1]&pairMore != 0, conn: le.Uint32(src[2:])}
	rest := src[pairHeader:]
	ok := src[1]&^(pairMore|pairQuorum) == 0
	switch {
	case m.kind.hasBody():
		m.body = rest
	case m.kind.isBare():
		ok = ok && len(rest) == 0
	case m.kind == pairStart:
		ok = ok && m.start.decode(rest)
	case m.kind == pairRing:
		if ok = ok && len(rest) == ringPayload; ok {
			m.state.positions = decodePositions(rest)
		}
	case m.kind == pairPositions:
		m.state.quorum = src[1]&pairQuorum != 0
		ok = ok && m.state.decode(rest)
	default:
		ok = false
	}
	if !ok {
		return fmt.Errorf("malformed message %q between tap and worker", src[0])
	}
	return nil
}

func (s *streamStart) decode(b []byte) bool {
	if len(b) < startFixed {
		return false
	}
	le := binary.LittleEndian
	s.at, s.term = wal.LSN(le.Uint64(b)), wal.Term(le.Uint64(b[8:]))
	s.generation = pushwal.Generation(le.Uint32(b[16:]))
	s.history.Last = wal.TLI(le.Uint32(b[20:]))
	n := le.Uint32(b[24:])
	if b = b[startFixed:]; uint64(len(b)) != uint64(n)*startEntry {
		return false
	}
	for ; len(b) > 0; b = b[startEntry:] {
		s.history.Ancestors = append(s.history.Ancestors, wal.HistoryEntry{
			TLI: wal.TLI(le.Uint32(b)), Switch: wal.LSN(le.Uint64(b[4:])),
		})
	}
	return s.history.Valid()
}

func (s *pairState) decode(b []byte) bool {
	if len(b) != statePayload {
		return false
	}
	le := binary.LittleEndian
	s.positions = decodePositions(b)
	s.donor, s.donorUpto = int32(le.Uint32(b[16:])), wal.LSN(le.Uint64(b[20:]))
	return s.donor >= -1
}

// decodePositions reads the first 16 bytes of b.
func decodePositions(b []byte) positions {
	le := binary.LittleEndian
	return positions{commit: wal.LSN(le.Uint64(b)), truncate: wal.LSN(le.Uint64(b[8:]))}
}

// assembler puts bodies together that came in parts.
type assembler struct {
	kind pairKind
	conn uint32
	buf  []byte
}

// add takes a message with a body and returns the whole once it is there. It
// aliases the packet or the assembler and is valid until the next call.
func (a *assembler) add(m *pairMessage) (whole []byte, done bool, err error) {
	if len(a.buf) > 0 && (m.kind != a.kind || m.conn != a.conn) {
		return nil, false, fmt.Errorf("message %q between tap and worker interrupts another", m.kind)
	}
	if len(a.buf) == 0 && !m.more {
		return m.body, true, nil
	}
	if len(m.body) == 0 || len(a.buf)+len(m.body) > maxPairBody {
		return nil, false, fmt.Errorf("message %q between tap and worker is empty or longer than %d bytes", m.kind, maxPairBody)
	}
	a.kind, a.conn, a.buf = m.kind, m.conn, append(a.buf, m.body...)
	if m.more {
		return nil, false, nil
	}
	whole, a.buf = a.buf, nil
	return whole, true, nil
}
