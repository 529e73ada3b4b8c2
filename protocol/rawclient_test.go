package protocol_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// rawClient speaks the protocol byte by byte, so that tests can break it.
type rawClient struct {
	t    testing.TB
	conn net.Conn
}

// message is one received message.
type message struct {
	tag  byte
	body []byte
}

// testTimeout is below the default limits of the server, 60 s.
const testTimeout = 30 * time.Second

func dialRaw(t testing.TB, addr string) *rawClient {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, testTimeout)
	require.NoError(t, err)
	require.NoError(t, conn.SetDeadline(time.Now().Add(testTimeout)))
	t.Cleanup(func() { _ = conn.Close() })
	return &rawClient{t: t, conn: conn}
}

func (c *rawClient) write(b []byte) {
	c.t.Helper()
	_, err := c.conn.Write(b)
	require.NoError(c.t, err)
}

// untyped frames a first message.
func untyped(code uint32, body string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(body)))
	b = binary.BigEndian.AppendUint32(b, code)
	return append(b, body...)
}

func startupMessage(version uint32, params ...string) []byte {
	return untyped(version, strings.Join(params, "\x00")+"\x00\x00")
}

func frame(tag byte, body string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{tag}, uint32(4+len(body)))
	return append(b, body...)
}

func (c *rawClient) receive() message {
	c.t.Helper()
	m, err := c.tryReceive()
	require.NoError(c.t, err)
	return m
}

func (c *rawClient) tryReceive() (message, error) {
	var header [5]byte
	if _, err := io.ReadFull(c.conn, header[:]); err != nil {
		return message{}, err
	}
	body := make([]byte, binary.BigEndian.Uint32(header[1:])-4)
	_, err := io.ReadFull(c.conn, body)
	return message{header[0], body}, err
}

// until receives up to and including the first message of a type.
func (c *rawClient) until(tag byte) []message {
	c.t.Helper()
	var all []message
	for {
		m := c.receive()
		if all = append(all, m); m.tag == tag {
			return all
		}
	}
}

// expectClosed wants the end of file and not a byte before.
func (c *rawClient) expectClosed() {
	c.t.Helper()
	rest, err := io.ReadAll(c.conn)
	if err != nil {
		require.Contains(c.t, err.Error(), "reset")
	}
	require.Empty(c.t, rest)
}

// start connects with start-up parameters and returns what came up to Z.
func (c *rawClient) start(params ...string) []message {
	c.t.Helper()
	c.write(startupMessage(196608, append([]string{"user", "someone"}, params...)...))
	return c.until('Z')
}

func (c *rawClient) query(sql string) []message {
	c.t.Helper()
	c.write(frame('Q', sql+"\x00"))
	return c.until('Z')
}

// fields reads an ErrorResponse.
func (m message) fields() map[byte]string {
	fields := make(map[byte]string)
	for _, f := range strings.Split(string(m.body), "\x00") {
		if f != "" {
			fields[f[0]] = f[1:]
		}
	}
	return fields
}

// shape is the conversation as a line: types, and what they say where that is
// stable.
func shape(messages []message) string {
	var parts []string
	for _, m := range messages {
		switch m.tag {
		case 'E', 'N':
			f := m.fields()
			parts = append(parts, fmt.Sprintf("%c(%s %s)", m.tag, f['S'], f['C']))
		case 'C':
			parts = append(parts, fmt.Sprintf("C(%s)", strings.TrimSuffix(string(m.body), "\x00")))
		case 'Z':
			parts = append(parts, "Z"+string(m.body))
		default:
			parts = append(parts, string(m.tag))
		}
	}
	return strings.Join(parts, " ")
}
