package protocol

import (
	"crypto/x509"
	"fmt"
	"slices"
)

// exchange lends the connection to an Authenticator.
type exchange struct{ c *conn }

func (x exchange) answer(m encoder) ([]byte, error) {
	if err := x.c.say(m); err != nil {
		return nil, err
	}
	if err := x.c.out.flush(); err != nil {
		return nil, err
	}
	tag, body, err := x.c.in.next()
	if err != nil {
		return nil, err
	}
	if tag == 'X' {
		return nil, ErrPeerClosed
	}
	return body, nil
}

func (x exchange) CleartextPassword() (string, error) {
	body, err := x.answer(authCleartext())
	if err != nil {
		return "", err
	}
	return decodePassword(body)
}

func (x exchange) SASL(mechanisms ...string) (string, []byte, error) {
	body, err := x.answer(authSASL(mechanisms))
	if err != nil {
		return "", nil, err
	}
	chosen, data, err := decodeSASLInitial(body)
	if err != nil {
		return "", nil, err
	}
	if !slices.Contains(mechanisms, chosen) {
		return "", nil, violation("SASL", fmt.Errorf("client chose %q, which was not offered", chosen))
	}
	return chosen, data, nil
}

func (x exchange) SASLContinue(challenge []byte) ([]byte, error) {
	body, err := x.answer(authContinue(challenge))
	return append([]byte(nil), body...), err
}

func (x exchange) SASLFinal(data []byte) error { return x.c.say(authFinal(data)) }

func (x exchange) ServerEndPoint() []byte { return x.c.binding }

func (x exchange) PeerCertificates() []*x509.Certificate {
	if x.c.tls == nil || len(x.c.tls.ConnectionState().VerifiedChains) == 0 {
		return nil
	}
	return x.c.tls.ConnectionState().PeerCertificates
}
