package access

import (
	"crypto/tls"
	"fmt"
	"log/slog"

	"github.com/walhaven/walhaven/auth"
	"github.com/walhaven/walhaven/internal/daemon"
)

// Config is embedded into a server's configuration.
type Config struct {
	UsersFile            string `name:"users-file" placeholder:"FILE" help:"Users with SCRAM-SHA-256 verifiers. Without it and without --jwt-key only loopback is listened on and every connection is trusted."`
	JWTKey               string `name:"jwt-key" placeholder:"FILE" help:"PEM public key (Ed25519), or a folder of them, for tokens given as password."`
	TLSCert              string `name:"tls-cert" placeholder:"FILE" help:"Certificate chain in PEM; files are read again when they change."`
	TLSKey               string `name:"tls-key" placeholder:"FILE" help:"Key of the certificate in PEM."`
	TLSClientCA          string `name:"tls-client-ca" placeholder:"FILE" help:"Authorities of client certificates, which then log in as their common name."`
	RequireTLS           bool   `name:"require-tls" help:"Refuse connections from other machines without TLS."`
	InsecureTrustNetwork bool   `name:"insecure-trust-network" help:"Listen on other addresses than loopback without authentication. Everybody who reaches them can read and change everything."`
}

// Check refuses values that cannot work together, and an address that would be
// reached from other machines without authentication.
func (c *Config) Check(listen ...string) error {
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return fmt.Errorf("--tls-cert and --tls-key are needed together")
	}
	if c.TLSClientCA != "" && c.TLSCert == "" {
		return fmt.Errorf("--tls-client-ca needs --tls-cert")
	}
	if c.UsersFile != "" || c.JWTKey != "" || c.InsecureTrustNetwork {
		return nil
	}
	for _, addr := range listen {
		if addr != "" && !daemon.IsLoopback(addr) {
			return daemon.Explain(fmt.Errorf("refusing to listen on %s without authentication", addr),
				"Without a users file or a JWT key every connection is trusted.",
				"Give --users-file or --jwt-key, listen on 127.0.0.1, or say --insecure-trust-network.")
		}
	}
	return nil
}

// Policy makes the authentication policy and the TLS settings (nil without a
// certificate). adminScopes are the JWT scopes that may do everything.
func (c *Config) Policy(logger *slog.Logger, adminScopes ...string) (auth.Policy, *tls.Config, error) {
	p := auth.Policy{
		Tokens: auth.NewTokens(),
		Trust:  auth.Trust{Insecure: c.InsecureTrustNetwork}, RequireTLS: c.RequireTLS, Certificates: c.TLSClientCA != "",
	}
	var err error
	if c.UsersFile != "" {
		if p.Users, err = auth.LoadUsers(c.UsersFile, logger); err != nil {
			return p, nil, fmt.Errorf("load users: %w", err)
		}
	}
	if c.JWTKey != "" {
		if p.JWT, err = auth.LoadJWT(c.JWTKey, logger, adminScopes...); err != nil {
			return p, nil, fmt.Errorf("load JWT keys: %w", err)
		}
	}
	if c.TLSCert == "" {
		return p, nil, nil
	}
	config, err := auth.ServerTLS(auth.TLSFiles{Certificate: c.TLSCert, Key: c.TLSKey, ClientCA: c.TLSClientCA}, logger)
	if err != nil {
		return p, nil, fmt.Errorf("load TLS files: %w", err)
	}
	return p, config, nil
}
