package protocol_test

import (
	"encoding/binary"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol"
)

const (
	sslRequest    = 80877103
	gssRequest    = 80877104
	cancelRequest = 80877102
)

// parameters reads the ParameterStatus messages of a greeting.
func parameters(messages []message) map[string]string {
	p := make(map[string]string)
	for _, m := range messages {
		if m.tag == 'S' {
			kv := strings.Split(string(m.body), "\x00")
			p[kv[0]] = kv[1]
		}
	}
	return p
}

func TestGreeting(t *testing.T) {
	c := dialRaw(t, serve(t, newTestHandler(t), protocol.Options{}))
	greeting := c.start("application_name", "test", "TimeZone", "Europe/Paris")
	require.Equal(t, byte('R'), greeting[0].tag)
	require.Equal(t, []byte{0, 0, 0, 0}, greeting[0].body)
	require.Equal(t, map[string]string{
		"server_version": "15.20 (walhaven)", "server_encoding": "UTF8", "client_encoding": "UTF8",
		"integer_datetimes": "on", "standard_conforming_strings": "on", "DateStyle": "ISO, MDY",
		"IntervalStyle": "postgres", "TimeZone": "Europe/Paris", "in_hot_standby": "off",
		"default_transaction_read_only": "off", "is_superuser": "on", "session_authorization": "someone",
		"application_name": "test",
	}, parameters(greeting))
	key := greeting[len(greeting)-2]
	require.Equal(t, byte('K'), key.tag)
	require.Len(t, key.body, 8)
}

// TestVersions is the table of section 1.3 of the reference, column 14 to 17.
func TestVersions(t *testing.T) {
	addr := serve(t, newTestHandler(t), protocol.Options{})
	negotiate := func(names ...string) string {
		b := binary.BigEndian.AppendUint32(nil, 196608)
		b = binary.BigEndian.AppendUint32(b, uint32(len(names)))
		for _, n := range names {
			b = append(append(b, n...), 0)
		}
		return string(b)
	}
	for _, tc := range []struct {
		name      string
		version   uint32
		extra     []string
		negotiate string
	}{
		{"3.0", 3 << 16, nil, ""},
		{"3.0 with an extension", 3 << 16, []string{"_pq_.foo", "1"}, negotiate("_pq_.foo")},
		{"3.1", 3<<16 | 1, nil, negotiate()},
		{"3.2", 3<<16 | 2, nil, negotiate()},
		{"3.9999", 3<<16 | 9999, []string{"_pq_.foo", "", "_pq_.bar", "x"}, negotiate("_pq_.foo", "_pq_.bar")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := dialRaw(t, addr)
			c.write(startupMessage(tc.version, append([]string{"user", "u"}, tc.extra...)...))
			first := c.receive()
			if tc.negotiate != "" {
				require.Equal(t, byte('v'), first.tag)
				require.Equal(t, tc.negotiate, string(first.body))
				first = c.receive()
			}
			require.Equal(t, byte('R'), first.tag)
			c.until('Z')
		})
	}
}

func TestRefusedStartups(t *testing.T) {
	addr := serve(t, newTestHandler(t), protocol.Options{})
	for _, tc := range []struct {
		name  string
		bytes []byte
		code  string // "" is a silent close
		text  string
	}{
		{"4.0", startupMessage(4<<16, "user", "u"), "0A000", "unsupported frontend protocol 4.0: server supports 3.0 to 3.0"},
		{"bogus code", untyped(1234<<16|1, ""), "0A000", "unsupported frontend protocol 1234.1: server supports 3.0 to 3.0"},
		{"no user", startupMessage(3<<16, "database", "x"), "28000", "no PostgreSQL user name specified in startup packet"},
		{"no terminator", untyped(3<<16, "user\x00u\x00"), "08P01", "invalid startup packet layout: expected terminator as last byte"},
		{"no value", untyped(3<<16, "user\x00"), "08P01", "invalid startup packet layout: expected terminator as last byte"},
		{"bogus replication", startupMessage(3<<16, "user", "u", "replication", "bogus"), "22023", `invalid value for parameter "replication": "bogus"`},
		{"HTTP", []byte("GET / HTTP/1.1\r\n\r\n"), "", ""},
		{"length 4", []byte{0, 0, 0, 4}, "", ""},
		{"length 10001", []byte{0, 0, 0x27, 0x11, 0, 3, 0, 0}, "", ""},
		{"ClientHello without TLS", []byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}, "", ""},
		{"cancel with a long key", untyped(cancelRequest, strings.Repeat("x", 36)), "", ""},
		{"cancel for nobody", untyped(cancelRequest, "\x00\x00\x00\x01abcd"), "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := dialRaw(t, addr)
			c.write(tc.bytes)
			if tc.code != "" {
				m := c.receive()
				require.Equal(t, byte('E'), m.tag)
				f := m.fields()
				require.Equal(t, []string{"FATAL", "FATAL", tc.code, tc.text}, []string{f['S'], f['V'], f['C'], f['M']})
			}
			c.expectClosed()
		})
	}
	t.Run("2.0", func(t *testing.T) {
		c := dialRaw(t, addr)
		c.write(startupMessage(2<<16, "user", "u"))
		answer, err := io.ReadAll(c.conn)
		require.NoError(t, err)
		require.Equal(t, "EFATAL:  unsupported frontend protocol 2.0: server supports 3.0 to 3.0\n\x00", string(answer))
	})
}

func TestEncryptionRequests(t *testing.T) {
	addr := serve(t, newTestHandler(t), protocol.Options{})
	one := func(c *rawClient) string {
		b := make([]byte, 1)
		_, err := io.ReadFull(c.conn, b)
		require.NoError(t, err)
		return string(b)
	}
	for _, order := range [][2]uint32{{sslRequest, gssRequest}, {gssRequest, sslRequest}} {
		c := dialRaw(t, addr)
		for _, code := range order {
			c.write(untyped(code, ""))
			require.Equal(t, "N", one(c))
		}
		c.start()
	}
	t.Run("twice", func(t *testing.T) {
		c := dialRaw(t, addr)
		c.write(untyped(sslRequest, ""))
		require.Equal(t, "N", one(c))
		c.write(untyped(sslRequest, ""))
		m := c.receive()
		require.Equal(t, "unsupported frontend protocol 1234.5679: server supports 3.0 to 3.0", m.fields()['M'])
		c.expectClosed()
	})
	for name, code := range map[string]uint32{"SSL": sslRequest, "GSSAPI encryption": gssRequest} {
		t.Run("pipelined behind "+name, func(t *testing.T) {
			c := dialRaw(t, addr)
			c.write(append(untyped(code, ""), startupMessage(3<<16, "user", "u")...))
			require.Equal(t, "N", one(c))
			f := c.receive().fields()
			require.Equal(t, "08P01", f['C'])
			require.Equal(t, "received unencrypted data after "+name+" request", f['M'])
			c.expectClosed()
		})
	}
}

func TestOptionsReachTheHandler(t *testing.T) {
	h := newTestHandler(t)
	var got map[string]string
	h.begin = func(s *protocol.Session) (protocol.Settings, error) {
		got = s.Options
		return nil, nil
	}
	addr := serve(t, h, protocol.Options{})
	for line, want := range map[string]map[string]string{
		"-c tenant_id=aa -c timeline_id=main":            {"tenant_id": "aa", "timeline_id": "main"},
		"-c timeline_id=01 tenant_id=02":                 {"timeline_id": "01", "tenant_id": "02"}, // Neon's walproposer
		"-ctenant_id=aa --timeline-id=x":                 {"tenant_id": "aa", "timeline_id": "x"},
		`-c a=one\ two  -c b=back\\slash c=1 c=2 orphan`: {"a": "one two", "b": `back\slash`, "c": "2"},
		"": {},
	} {
		dialRaw(t, addr).start("options", line)
		require.Equal(t, want, got, line)
	}
}

func TestBeginRefuses(t *testing.T) {
	h := newTestHandler(t)
	h.begin = func(*protocol.Session) (protocol.Settings, error) {
		return nil, protocol.Errorf(protocol.CodeUnknownDatabase, "timeline %q does not exist", "x")
	}
	addr, stop := serveUntil(t, h, protocol.Options{})
	c := dialRaw(t, addr)
	c.write(startupMessage(3<<16, "user", "u"))
	require.Equal(t, byte('R'), c.receive().tag)
	f := c.receive().fields()
	require.Equal(t, "FATAL 3D000", f['S']+" "+f['C'])
	c.expectClosed()
	stop()
	require.EqualValues(t, 1, h.ended.Load())
}

func TestAuthenticationDeadline(t *testing.T) {
	addr := serve(t, newTestHandler(t), protocol.Options{AuthTimeout: 50 * time.Millisecond})
	for name, bytes := range map[string][]byte{
		"silent": nil, "half a length": {0, 0}, "half a packet": startupMessage(3<<16, "user", "u")[:10],
	} {
		t.Run(name, func(t *testing.T) {
			c := dialRaw(t, addr)
			c.write(bytes)
			c.expectClosed()
		})
	}
}

func TestTooManyConnections(t *testing.T) {
	addr := serve(t, newTestHandler(t), protocol.Options{MaxConnections: 1})
	first := dialRaw(t, addr)
	greeting := first.start()
	second := dialRaw(t, addr)
	second.write(startupMessage(3<<16, "user", "u"))
	require.Equal(t, "53300", second.receive().fields()['C'])
	second.expectClosed()
	// A cancel request must pass all the same.
	third := dialRaw(t, addr)
	third.write(untyped(cancelRequest, string(greeting[len(greeting)-2].body)))
	third.expectClosed()
	require.Equal(t, "I Z"+"I", shape(first.query("")))
}

func TestShutdownTellsIdleSessions(t *testing.T) {
	h := newTestHandler(t)
	addr, stop := serveUntil(t, h, protocol.Options{})
	c := dialRaw(t, addr)
	c.start()
	stop()
	f := c.receive().fields()
	require.Equal(t, "FATAL 57P01", f['S']+" "+f['C'])
	c.expectClosed()
	require.Equal(t, h.begun.Load(), h.ended.Load())
}

func TestIdleTimeout(t *testing.T) {
	c := dialRaw(t, serve(t, newTestHandler(t), protocol.Options{IdleTimeout: 50 * time.Millisecond}))
	c.start()
	require.Equal(t, "57P05", c.receive().fields()['C'])
	c.expectClosed()
}
