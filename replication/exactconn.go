package replication

import (
	"encoding/binary"
	"io"
	"net"
)

// exactConn is a connection of which pgconn reads, but never past the end of the
// CopyBothResponse, so that what the server streams right behind it is still in
// the socket when the connection is taken over.
//
// Two readers would take more: pgproto3 fills a large buffer, and pgconn starts
// a background reader when a write takes longer than 15 ms, which then reads
// whenever it gets round to it. Hence the limit is here, beneath both, and not
// in a reader handed to pgproto3: no read passes the end of a message, and after
// CopyBothResponse all reads end at once.
type exactConn struct {
	net.Conn

	header  [5]byte // type byte and length of the message being read
	have    int     // bytes of header that were read
	body    uint32  // bytes of its body that were not
	handing bool    // CopyBothResponse has passed
}

// Read is called by one goroutine at a time: pgconn's own or its background
// reader, never both.
func (c *exactConn) Read(p []byte) (int, error) {
	if c.handing {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	inHeader := c.have < len(c.header)
	if inHeader {
		p = p[:min(len(p), len(c.header)-c.have)]
	} else if uint64(len(p)) > uint64(c.body) {
		p = p[:c.body]
	}
	n, err := c.Conn.Read(p)
	if inHeader {
		c.have += copy(c.header[c.have:], p[:n])
		if c.have == len(c.header) {
			// A length below 4 is refused by the parser above.
			c.body = max(binary.BigEndian.Uint32(c.header[1:]), 4) - 4
		}
	} else {
		c.body -= uint32(n)
	}
	if c.have == len(c.header) && c.body == 0 {
		c.handing = c.header[0] == 'W'
		c.have = 0
	}
	return n, err
}
