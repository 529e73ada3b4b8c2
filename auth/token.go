package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/wal"
)

const (
	// tokenUser begins the user name of every token. The users file need not leave
	// such names out, but they mean tokens.
	tokenUser = "walhaven-token-"
	// maxTokens bounds the tokens that wait to be used, and maxTokensOfUser those
	// of one user, so that nobody keeps the others from making any.
	maxTokens       = 10_000
	maxTokensOfUser = 1_000
	methodToken     = "token"
	tokenNameBytes  = 16
	tokenBytes      = 32
	// MaxTokenTTL bounds how long a token may wait to be used.
	MaxTokenTTL = time.Hour
)

// Token is a user name and a password that open one connection.
type Token struct {
	User, Password string
	Expires        time.Time
}

// Tokens holds one-time logins in memory: what CREATE TOKEN hands out, and what
// a program gives the processes that it starts. They log in by SCRAM-SHA-256
// under a name of their own, so that nothing secret travels in the clear and who
// listens in cannot use them up.
type Tokens struct {
	now     func() time.Time
	mockKey [sha256.Size]byte // for the salts of names that are no token's

	mu   sync.Mutex
	live map[string]issued // by user name
}

type issued struct {
	identity protocol.Identity
	verifier Verifier
	expires  time.Time
}

// NewTokens makes an empty set.
func NewTokens() *Tokens {
	t := &Tokens{now: time.Now, live: make(map[string]issued)}
	_, _ = rand.Read(t.mockKey[:]) // never fails, see crypto/rand
	return t
}

// Create makes a token that stands for identity, but for the right Admin and
// restricted to a timeline, until it was used or ttl has passed.
func (t *Tokens) Create(identity protocol.Identity, id wal.TTID, ttl time.Duration) (Token, error) {
	if identity.Method == methodToken {
		return Token{}, protocol.Errorf(protocol.CodeInsufficientRight, "a session that logged in with a token cannot make another")
	}
	if !identity.Permits(id) {
		return Token{}, protocol.Errorf(protocol.CodeInsufficientRight, "role %q may not use timeline %s", identity.User, id)
	}
	secret := make([]byte, tokenNameBytes+tokenBytes)
	_, _ = rand.Read(secret) // never fails, see crypto/rand
	encode := base64.RawURLEncoding.EncodeToString
	token := Token{User: tokenUser + encode(secret[:tokenNameBytes]), Password: encode(secret[tokenNameBytes:])}
	verifier, err := MakeVerifier(token.Password)
	if err != nil {
		return Token{}, err
	}
	identity = protocol.Identity{
		User: identity.User, Method: methodToken, Tenant: &id.Tenant, Timeline: &id.Timeline, Writer: identity.MayWrite(),
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.room(identity.User); err != nil {
		return Token{}, err
	}
	token.Expires = t.now().Add(ttl)
	t.live[token.User] = issued{identity, verifier, token.Expires}
	return token, nil
}

// room forgets what has expired if there are many, and refuses when that is not
// enough.
func (t *Tokens) room(user string) error {
	of := 0
	count := func() {
		of = 0
		for _, i := range t.live {
			if i.identity.User == user {
				of++
			}
		}
	}
	if count(); of < maxTokensOfUser && len(t.live) < maxTokens {
		return nil
	}
	now := t.now()
	maps.DeleteFunc(t.live, func(_ string, i issued) bool { return !now.Before(i.expires) })
	if count(); of < maxTokensOfUser && len(t.live) < maxTokens {
		return nil
	}
	return protocol.Errorf(protocol.CodeLimitExceeded, "%d tokens are waiting to be used, %d of them of user %q", len(t.live), of, user)
}

// IsTokenUser says whether a user name has the form of a token's.
func IsTokenUser(user string) bool { return strings.HasPrefix(user, tokenUser) }

// Authenticate implements protocol.Authenticator. A token is used up by the first
// login that proves its password, and not by one that fails: its name is no
// secret.
func (t *Tokens) Authenticate(_ context.Context, s *protocol.Session, ex protocol.Exchange) (protocol.Identity, error) {
	t.mu.Lock()
	i, known := t.live[s.User]
	t.mu.Unlock()
	verifier := i.verifier
	if !known {
		verifier = Verifier{Iterations: defaultIterations, Salt: hmacSHA256(t.mockKey[:], s.User)[:saltLength]}
	}
	err := runSCRAM(verifier, ex, func() error { return t.use(s.User) })
	if err != nil {
		return protocol.Identity{}, refused(s.User, err)
	}
	return i.identity, nil
}

// use takes a token away, once.
func (t *Tokens) use(user string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	i, ok := t.live[user]
	delete(t.live, user)
	if !ok || !t.now().Before(i.expires) {
		return fmt.Errorf("%w: the token was used, or has expired", errExchange)
	}
	return nil
}
