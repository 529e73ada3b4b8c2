package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/walhaven/walhaven/protocol"
)

const (
	tokenPrefix = "wht_" // tells a token from a JWT
	maxTokens   = 10_000
	tokenBytes  = 32
)

// Tokens holds one-time passwords in memory: what a program gives the processes
// it starts, and what CREATE TOKEN hands out. Each opens one connection.
type Tokens struct {
	now func() time.Time

	mu   sync.Mutex
	live map[[sha256.Size]byte]issued
}

type issued struct {
	identity protocol.Identity
	expires  time.Time
}

// NewTokens makes an empty set.
func NewTokens() *Tokens {
	return &Tokens{now: time.Now, live: make(map[[sha256.Size]byte]issued)}
}

// Create makes a token that stands for identity until it was used or ttl has
// passed.
func (t *Tokens) Create(identity protocol.Identity, ttl time.Duration) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	if len(t.live) >= maxTokens {
		maps.DeleteFunc(t.live, func(_ [sha256.Size]byte, i issued) bool { return !now.Before(i.expires) })
	}
	if len(t.live) >= maxTokens {
		return "", protocol.Errorf(protocol.CodeLimitExceeded, "%d tokens are waiting to be used", len(t.live))
	}
	secret := make([]byte, tokenBytes)
	_, _ = rand.Read(secret) // never fails, see crypto/rand
	token := tokenPrefix + base64.RawURLEncoding.EncodeToString(secret)
	identity.Method = "token"
	t.live[sha256.Sum256([]byte(token))] = issued{identity, now.Add(ttl)}
	return token, nil
}

// Redeem uses a token up. Only a hash is compared, so that timing tells nothing
// about the tokens there are.
func (t *Tokens) Redeem(token string) (protocol.Identity, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := sha256.Sum256([]byte(token))
	i, ok := t.live[key]
	delete(t.live, key)
	if !ok || !t.now().Before(i.expires) {
		return protocol.Identity{}, false
	}
	return i.identity, true
}

// Authenticate implements protocol.Authenticator.
func (t *Tokens) Authenticate(_ context.Context, s *protocol.Session, ex protocol.Exchange) (protocol.Identity, error) {
	token, err := ex.CleartextPassword()
	if err != nil {
		return protocol.Identity{}, err
	}
	return t.verify(s, token)
}

func (t *Tokens) verify(s *protocol.Session, token string) (protocol.Identity, error) {
	identity, ok := t.Redeem(token)
	if !ok {
		return protocol.Identity{}, protocol.Fatalf(protocol.CodeInvalidPassword,
			"token authentication failed for user %q", s.User)
	}
	return identity, nil
}

// IsToken says whether a password has the form of a one-time token.
func IsToken(password string) bool { return strings.HasPrefix(password, tokenPrefix) }
