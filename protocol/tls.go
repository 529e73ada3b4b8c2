package protocol

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"hash"
	"net"
)

// alpn is the protocol that direct TLS must negotiate.
const alpn = "postgresql"

// startTLS runs the handshake. A failure is answered by TLS itself or not at
// all, so it ends the connection with a line in the log only.
func (c *conn) startTLS(direct bool) error {
	var shown *tls.Certificate
	first := &rewound{Conn: c.conn, first: append([]byte(nil), c.in.pending()...)}
	t := tls.Server(first, sessionConfig(c.srv.o.TLS, &shown))
	if err := t.Handshake(); err != nil {
		c.log.Info("TLS handshake failed", "err", err)
		return errEnd
	}
	c.tls, c.binding = t, serverEndPoint(shown)
	if direct && t.ConnectionState().NegotiatedProtocol != alpn {
		c.log.Info("received direct SSL connection request without ALPN protocol negotiation extension")
		return errEnd
	}
	c.in = newFrameReader(t, c.srv.limits.auth)
	c.out = newFrameWriter(t)
	return nil
}

// sessionConfig is base for one connection; it notes the certificate shown,
// which crypto/tls does not tell and channel binding needs.
func sessionConfig(base *tls.Config, shown **tls.Certificate) *tls.Config {
	config := base.Clone()
	config.NextProtos = []string{alpn}
	// A resumed session would show no certificate; PostgreSQL issues no tickets
	// either.
	config.SessionTicketsDisabled = true
	config.Certificates = nil
	config.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert, err := chooseCertificate(base, hello)
		*shown = cert
		return cert, err
	}
	if choose := base.GetConfigForClient; choose != nil {
		config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			chosen, err := choose(hello)
			if chosen == nil || err != nil {
				return nil, err
			}
			chosen = chosen.Clone()
			chosen.GetConfigForClient = nil
			return sessionConfig(chosen, shown), nil
		}
	}
	return config
}

func chooseCertificate(base *tls.Config, hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if base.GetCertificate != nil {
		if cert, err := base.GetCertificate(hello); cert != nil || err != nil {
			return cert, err
		}
	}
	for i := range base.Certificates {
		if hello.SupportsCertificate(&base.Certificates[i]) == nil {
			return &base.Certificates[i], nil
		}
	}
	return nil, errors.New("no certificate that the client supports")
}

// serverEndPoint hashes a certificate as RFC 5929 says: with the hash of its
// signature, SHA-256 in place of weaker ones; nil when it has no single hash.
func serverEndPoint(cert *tls.Certificate) []byte {
	if cert == nil || len(cert.Certificate) == 0 {
		return nil
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return nil
	}
	var h hash.Hash
	switch leaf.SignatureAlgorithm {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1,
		x509.SHA256WithRSA, x509.ECDSAWithSHA256, x509.SHA256WithRSAPSS:
		h = sha256.New()
	case x509.SHA384WithRSA, x509.ECDSAWithSHA384, x509.SHA384WithRSAPSS:
		h = sha512.New384()
	case x509.SHA512WithRSA, x509.ECDSAWithSHA512, x509.SHA512WithRSAPSS:
		h = sha512.New()
	default:
		return nil
	}
	h.Write(leaf.Raw)
	return h.Sum(nil)
}

// rewound reads bytes that were read before, then the connection.
type rewound struct {
	net.Conn
	first []byte
}

func (r *rewound) Read(p []byte) (int, error) {
	if len(r.first) == 0 {
		return r.Conn.Read(p)
	}
	n := copy(p, r.first)
	r.first = r.first[n:]
	return n, nil
}
