package auth

import (
	"context"
	"errors"
	"fmt"

	"github.com/xdg-go/scram"

	"github.com/walhaven/walhaven/protocol"
)

// Mechanism names (RFC 5802, RFC 7677).
const (
	mechanism     = "SCRAM-SHA-256"
	mechanismPlus = "SCRAM-SHA-256-PLUS"
)

// SCRAM authenticates against a users file. Inside TLS it offers channel binding
// first. A user that does not exist goes through the same exchange and fails at
// its end, with a salt that belongs to the name.
type SCRAM struct {
	Users *Users
}

// Authenticate implements protocol.Authenticator.
func (a SCRAM) Authenticate(_ context.Context, s *protocol.Session, ex protocol.Exchange) (protocol.Identity, error) {
	set := a.Users.file.get()
	user, known := set.byName[s.User]
	verifier := user.Verifier
	if !known {
		verifier = set.mock(s.User)
	}
	if err := runSCRAM(verifier, ex, func() error {
		if !known {
			// Nobody can make a proof for a StoredKey of zeros, but what is refused
			// must not depend on that.
			return fmt.Errorf("%w: no such user", errExchange)
		}
		return nil
	}); err != nil {
		return protocol.Identity{}, refused(s.User, err)
	}
	return protocol.Identity{User: user.Name, Method: "scram-sha-256", Admin: user.Admin, Tenant: user.Tenant}, nil
}

// mock invents a verifier that no password fits.
func (set userSet) mock(name string) Verifier {
	return Verifier{Iterations: set.iterations, Salt: hmacSHA256(set.mockKey[:], name)[:saltLength]}
}

// errExchange marks refusals, as opposed to a client that went away.
var errExchange = errors.New("SCRAM exchange failed")

// refused is what every failure looks like from outside. Errors of the
// connection pass as they are.
func refused(user string, err error) error {
	var told *protocol.Error
	if errors.As(err, &told) {
		told.Severity = protocol.SeverityFatal
		return told
	}
	if errors.Is(err, errExchange) {
		e := protocol.Fatalf(protocol.CodeInvalidPassword, "password authentication failed for user %q", user)
		e.Err = err
		return e
	}
	return err
}

// runSCRAM returns nil for a client that knows the password. accept is asked
// before the client is told.
func runSCRAM(v Verifier, ex protocol.Exchange, accept func() error) error {
	offer := []string{mechanism}
	binding := scram.ChannelBinding{Type: scram.ChannelBindingTLSServerEndpoint, Data: ex.ServerEndPoint()}
	if binding.IsSupported() {
		offer = []string{mechanismPlus, mechanism}
	}
	chosen, first, err := ex.SASL(offer...)
	if err != nil {
		return err
	}
	server, err := scram.SHA256.NewServer(v.credentials)
	if err != nil {
		return fmt.Errorf("start SCRAM: %w", err)
	}
	conversation := server.NewConversation()
	switch {
	case chosen == mechanismPlus:
		conversation = server.NewConversationWithChannelBindingRequired(binding)
	case binding.IsSupported():
		// Not required, but a client that could bind and says we did not offer
		// it ("y") was lied to.
		conversation = server.NewConversationWithChannelBinding(binding)
	}
	if chosen == mechanism && len(first) > 0 && first[0] == 'p' {
		return protocol.Fatalf(protocol.CodeProtocolViolation, "malformed SCRAM message").
			WithDetail("The client selected %s without channel binding, but the SCRAM message includes channel binding data.", mechanism)
	}
	challenge, err := conversation.Step(string(first))
	if err != nil {
		return fmt.Errorf("%w: %w", errExchange, err)
	}
	final, err := ex.SASLContinue([]byte(challenge))
	if err != nil {
		return err
	}
	outcome, err := conversation.Step(string(final))
	if err != nil {
		return fmt.Errorf("%w: %w", errExchange, err)
	}
	if !conversation.Valid() {
		return fmt.Errorf("%w: invalid proof", errExchange)
	}
	if err := accept(); err != nil {
		return err
	}
	return ex.SASLFinal([]byte(outcome))
}

// credentials hands the verifier to the library. The name in the SCRAM message
// is ignored, as in PostgreSQL: the start-up packet's counts.
func (v Verifier) credentials(string) (scram.StoredCredentials, error) {
	return scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Salt: string(v.Salt), Iters: v.Iterations},
		StoredKey:  v.StoredKey[:], ServerKey: v.ServerKey[:],
	}, nil
}
