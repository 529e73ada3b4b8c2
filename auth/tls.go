package auth

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
)

// TLSFiles names what a listener needs for TLS.
type TLSFiles struct {
	Certificate string // PEM, leaf first
	Key         string // PEM
	ClientCA    string // PEM; optional: client certificates are asked for and verified
}

// ServerTLS makes a configuration whose files are read again when they change,
// without a restart. A set that does not fit together leaves the last good one
// in force and is logged.
func ServerTLS(f TLSFiles, log *slog.Logger) (*tls.Config, error) {
	fault := faultLogger(log, "TLS files")
	pair, err := newReloaded(
		func() ([]string, error) { return []string{f.Certificate, f.Key}, nil },
		func(files [][]byte) (*tls.Certificate, error) {
			cert, err := tls.X509KeyPair(files[0], files[1])
			if err != nil {
				return nil, fmt.Errorf("read certificate and key: %w", err)
			}
			return &cert, nil
		}, fault)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair.get(), nil },
	}
	if f.ClientCA == "" {
		return config, nil
	}
	roots, err := newReloaded(
		func() ([]string, error) { return []string{f.ClientCA}, nil },
		func(files [][]byte) (*x509.CertPool, error) {
			pool := x509.NewCertPool()
			if !pool.AppendCertsFromPEM(files[0]) {
				return nil, errors.New("read client CA: no certificate in it")
			}
			return pool, nil
		}, fault)
	if err != nil {
		return nil, err
	}
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		c := config.Clone()
		c.GetConfigForClient = nil
		c.ClientAuth, c.ClientCAs = tls.VerifyClientCertIfGiven, roots.get()
		return c, nil
	}
	return config, nil
}
