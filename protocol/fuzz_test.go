package protocol

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

// FuzzStartup feeds the bytes of a connection's beginning to the packet reader,
// the parameter parser and what is made of it.
func FuzzStartup(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x29\x00\x03\x00\x00user\x00postgres\x00database\x00postgres\x00\x00"))
	f.Add([]byte("\x00\x00\x00\x08\x04\xd2\x16\x2f"))
	f.Add([]byte("\x00\x00\x00\x10\x04\xd2\x16\x2e\x00\x00\x00\x01abcd"))
	f.Add([]byte("\x00\x00\x00\x30\x00\x03\x00\x02user\x00u\x00_pq_.x\x001\x00options\x00-c a=b\\ c\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := newFrameReader(bytes.NewReader(data), authLimits())
		code, body, err := r.untyped()
		if err != nil || body == nil {
			return
		}
		if len(body)+8 > maxStartup {
			t.Fatalf("packet of %d bytes", len(body)+8)
		}
		if checkVersion(code) != nil {
			return
		}
		s, err := parseStartup(code, body)
		if err != nil {
			return
		}
		if v := s.negotiation(); v != nil && int(binary.BigEndian.Uint32(v[1:])) != len(v)-1 {
			t.Fatal("NegotiateProtocolVersion with a wrong length")
		}
		session, err := s.session()
		if err == nil && (session.User == "" || session.Database == "") {
			t.Fatal("session without user or database")
		}
	})
}

// FuzzFrameReader compares reading in one piece with reading byte by byte, and
// checks limits and memory.
func FuzzFrameReader(f *testing.F) {
	f.Add([]byte("Q\x00\x00\x00\x09hell\x00d\x00\x00\x00\x04"))
	f.Add([]byte("d\x7f\xff\xff\xff"))
	f.Add([]byte("d\x00\x00\x00\x03"))
	f.Add(append([]byte("d\x00\x00\x27\x14"), make([]byte, 10_000)...))
	limits := commandLimits(1000, 20_000)
	f.Fuzz(func(t *testing.T, data []byte) {
		whole := newFrameReader(bytes.NewReader(data), limits)
		split := newFrameReader(iotest.OneByteReader(bytes.NewReader(data)), limits)
		for {
			tag, body, err := whole.next()
			tag2, body2, err2 := split.next()
			if (err == nil) != (err2 == nil) || tag != tag2 || !bytes.Equal(body, body2) {
				t.Fatalf("%c %q %v, byte by byte %c %q %v", tag, body, err, tag2, body2, err2)
			}
			if err != nil {
				var bad *frameError
				if !errors.As(err, &bad) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatalf("unexpected error %v", err)
				}
				return
			}
			if limits[tag] < 0 || len(body) > int(limits[tag]) {
				t.Fatalf("%c of %d bytes passed", tag, len(body))
			}
			if len(whole.buf) > 2*(len(data)+initialReadBuffer) {
				t.Fatalf("buffer of %d bytes for %d of input", len(whole.buf), len(data))
			}
		}
	})
}

// FuzzMessages decodes a body as every message that a peer can send us.
func FuzzMessages(f *testing.F) {
	for _, seed := range []string{
		"", "\x00", "SELECT 1\x00", "stmt\x00SELECT 1\x00\x00\x01\x00\x00\x00\x17", "S\x00", "Pportal\x00",
		"p\x00s\x00\x00\x00\x00\x01\xff\xff\xff\xf0\x00\x00", "p\x00s\x00\x00\x01\x00\x01\x00\x01\x00\x00\x00\x01x\x00\x01\x00\x01",
		"portal\x00\x00\x00\x00\x0a", "SCRAM-SHA-256\x00\x00\x00\x00\x03n,,", "SCRAM-SHA-256\x00", "COPY 0\x00",
		"SERROR\x00C58P01\x00Mgone\x00\x00", "\x00\x02\xff\xff\xff\xff\x00\x00\x00\x01x", "\x00\x01\xff\xff\xff\xf0",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		_, _ = decodeQuery(body)
		_, _, _ = decodeParse(body)
		_, _ = decodeBind(body)
		_, _, _ = decodeExecute(body)
		_, _, _ = decodeTarget("Describe", body)
		_, _ = decodePassword(body)
		_, _, _ = decodeSASLInitial(body)
		_ = decodeError(body)
		_, _ = decodeColumns(body)
		_, _ = decodeTag(body)
		if row, err := decodeRow(body); err == nil && len(row) > len(body) {
			t.Fatal("row with more values than bytes")
		}
		_ = parseOptions(string(body))
	})
}
