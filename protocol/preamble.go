package protocol

import (
	"encoding/binary"
	"net"
)

// tlsHandshakeByte begins a ClientHello where a length is expected.
const tlsHandshakeByte = 0x16

// preamble reads up to the StartupMessage. It returns nil, nil when the
// connection has served its purpose or deserves no answer.
func (c *conn) preamble() (*startup, error) {
	if err := c.in.require(1); err != nil {
		return nil, err
	}
	if c.in.pending()[0] == tlsHandshakeByte {
		if c.srv.o.TLS == nil {
			return nil, nil
		}
		if err := c.startTLS(true); err != nil {
			return nil, err
		}
	}
	asked := map[uint32]bool{codeSSL: c.tls != nil, codeGSS: c.tls != nil}
	for {
		code, body, err := c.in.untyped()
		if err != nil || body == nil {
			return nil, err
		}
		switch {
		case code == codeCancel:
			c.cancelRequest(body)
			return nil, nil
		case (code == codeSSL || code == codeGSS) && !asked[code]:
			asked[code] = true
			if err := c.encryptionRequest(code); err != nil {
				return nil, err
			}
			if c.tls != nil {
				asked[codeGSS] = true
			}
		default:
			return c.startupMessage(code, body)
		}
	}
}

func (c *conn) startupMessage(version uint32, body []byte) (*startup, error) {
	if err := checkVersion(version); err != nil {
		if version>>16 >= 3 {
			return nil, err
		}
		_ = c.say(raw(oldStyleError(err)))
		return nil, errEnd
	}
	start, err := parseStartup(version, body)
	if err != nil {
		return nil, err
	}
	return &start, nil
}

// untyped reads a message without a type: its code and body. A nil body means
// that the length is impossible.
func (f *frameReader) untyped() (code uint32, body []byte, err error) {
	if err := f.require(4); err != nil {
		return 0, nil, err
	}
	length := binary.BigEndian.Uint32(f.pending())
	if length < minStartup || length > maxStartup {
		return 0, nil, nil
	}
	if err := f.require(int(length)); err != nil {
		return 0, nil, err
	}
	packet := f.pending()[:length]
	f.r += int(length)
	return binary.BigEndian.Uint32(packet[4:]), packet[8:], nil
}

func (c *conn) cancelRequest(body []byte) {
	if len(body) != 8 {
		return
	}
	pid, secret := binary.BigEndian.Uint32(body), binary.BigEndian.Uint32(body[4:])
	if !c.srv.backends.cancel(pid, secret) {
		c.log.Info("cancel request matches no session", "pid", pid)
	}
}

// encryptionRequest answers SSLRequest and GSSENCRequest. Bytes behind the
// request would be taken for what was sent under encryption (CVE-2021-23214).
func (c *conn) encryptionRequest(code uint32) error {
	_, local := c.conn.(*net.UnixConn)
	answer := raw{'N'}
	if code == codeSSL && c.srv.o.TLS != nil && !local {
		answer = raw{'S'}
	}
	if err := c.say(answer); err != nil {
		return err
	}
	if err := c.out.flush(); err != nil {
		return err
	}
	if len(c.in.pending()) > 0 {
		return Fatalf(CodeProtocolViolation, "received unencrypted data after %s request",
			map[uint32]string{codeSSL: "SSL", codeGSS: "GSSAPI encryption"}[code]).
			WithDetail("This could be either a client-software bug or evidence of an attempted man-in-the-middle attack.")
	}
	if answer[0] == 'S' {
		return c.startTLS(false)
	}
	return nil
}
