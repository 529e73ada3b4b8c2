package auth

import (
	"context"

	"github.com/walhaven/walhaven/protocol"
)

// Policy picks the method for each connection from what is configured:
//
//  1. SCRAM for a user name that is a one-time token's;
//  2. a verified client certificate whose common name is the user;
//  3. SCRAM for users of the users file;
//  4. a cleartext password, which is a JWT, if a key is configured and the
//     password cannot be read on its way;
//  5. SCRAM for everybody else, who will fail;
//  6. Trust, when nothing but tokens is configured.
//
// That 3 and 4 differ tells an outsider which names exist; who minds runs
// without JWT or without a users file.
type Policy struct {
	Users  *Users  // nil: no users file
	JWT    *JWT    // nil: no key
	Tokens *Tokens // nil: none are issued
	Trust  Trust   // in force without users file and key
	// RequireTLS refuses connections that are neither encrypted nor private.
	RequireTLS bool
	// Certificates accepts verified client certificates instead of a password.
	Certificates bool
	// InsecurePassword asks for cleartext passwords on any connection.
	InsecurePassword bool
}

// Authenticate implements protocol.Authenticator.
func (p Policy) Authenticate(ctx context.Context, s *protocol.Session, ex protocol.Exchange) (protocol.Identity, error) {
	private := Private(s.Remote, s.Local)
	if p.RequireTLS && !s.TLS && !private {
		return protocol.Identity{}, protocol.Fatalf(protocol.CodeInvalidAuthorization,
			"connections from %s must use TLS", s.Remote)
	}
	if p.Tokens != nil && IsTokenUser(s.User) {
		return p.Tokens.Authenticate(ctx, s, ex)
	}
	if p.Certificates {
		if identity, ok := p.certificate(s, ex); ok {
			return identity, nil
		}
	}
	known := false
	if p.Users != nil {
		_, known = p.Users.Lookup(s.User)
	}
	switch {
	case known:
		return SCRAM{Users: p.Users}.Authenticate(ctx, s, ex)
	case p.JWT != nil && (s.TLS || private || p.InsecurePassword):
		return p.JWT.Authenticate(ctx, s, ex)
	case p.Users != nil:
		return SCRAM{Users: p.Users}.Authenticate(ctx, s, ex)
	case p.JWT != nil:
		return protocol.Identity{}, protocol.Fatalf(protocol.CodeInvalidAuthorization,
			"a token from %s would be readable on its way", s.Remote).WithHint("Connect with TLS.")
	}
	return p.Trust.Authenticate(ctx, s, ex)
}

// certificate accepts a chain that the TLS handshake verified. The rights are
// those of the users file, where the user must be listed if there is one.
func (p Policy) certificate(s *protocol.Session, ex protocol.Exchange) (protocol.Identity, bool) {
	chain := ex.PeerCertificates()
	if len(chain) == 0 || chain[0].Subject.CommonName != s.User {
		return protocol.Identity{}, false
	}
	identity := protocol.Identity{User: s.User, Method: "cert", Admin: p.Users == nil}
	if p.Users != nil {
		user, ok := p.Users.Lookup(s.User)
		if !ok {
			return protocol.Identity{}, false
		}
		identity.Admin, identity.Tenant = user.Admin, user.Tenant
	}
	return identity, true
}

// Trusting says that the policy lets connections in without proof, so that a
// program must listen privately or say aloud that it does not.
func (p Policy) Trusting() bool { return p.Users == nil && p.JWT == nil }
