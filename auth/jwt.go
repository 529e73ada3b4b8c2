package auth

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/golang-jwt/jwt/v5"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/wal"
)

// Scopes of Neon's tokens that mean something here.
const (
	ScopeTenant         = "tenant"         // one tenant's data; the claim tenant_id is required
	ScopeSafekeeperData = "safekeeperdata" // everything on a safekeeper
	ScopePageServerAPI  = "pageserverapi"  // everything on a pageserver
)

// JWT takes a token as password: signed with EdDSA (Ed25519), the claims scope
// and tenant_id as in Neon's services, an expiry optional.
type JWT struct {
	keys   *reloaded[[]ed25519.PublicKey]
	scopes []string
}

// LoadJWT reads the public keys: one PEM file, or a folder of them, each of
// which may have signed a token. Keys are read again when they change.
// adminScopes are the scopes that open everything, for a safekeeper
// ScopeSafekeeperData.
func LoadJWT(path string, log *slog.Logger, adminScopes ...string) (*JWT, error) {
	keys, err := newReloaded(
		func() ([]string, error) { return keyFiles(path) }, parseKeys,
		faultLogger(log, "JWT keys"))
	if err != nil {
		return nil, err
	}
	return &JWT{keys: keys, scopes: adminScopes}, nil
}

func keyFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read JWT key: %w", err)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	files, err := filepath.Glob(filepath.Join(path, "*.pem"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("read JWT keys: no *.pem in %s", path)
	}
	return files, nil
}

func parseKeys(files [][]byte) ([]ed25519.PublicKey, error) {
	var keys []ed25519.PublicKey
	for _, content := range files {
		found := len(keys)
		for {
			block, rest := pem.Decode(content)
			if block == nil {
				break
			}
			content = rest
			key, err := parseKey(block)
			if err != nil {
				return nil, fmt.Errorf("read JWT key: %w", err)
			}
			keys = append(keys, key)
		}
		if len(keys) == found {
			return nil, errors.New("read JWT key: no PEM block in the file")
		}
	}
	return keys, nil
}

func parseKey(block *pem.Block) (ed25519.PublicKey, error) {
	if block.Type != "PUBLIC KEY" {
		return nil, fmt.Errorf("PEM block %q, PUBLIC KEY expected", block.Type)
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("a %T, only Ed25519 is accepted", parsed)
	}
	return key, nil
}

// claims of Neon's tokens (libs/utils/src/auth.rs).
type claims struct {
	Scope    string `json:"scope"`
	TenantID string `json:"tenant_id"`
	jwt.RegisteredClaims
}

// Authenticate implements protocol.Authenticator.
func (a *JWT) Authenticate(_ context.Context, _ *protocol.Session, ex protocol.Exchange) (protocol.Identity, error) {
	token, err := ex.CleartextPassword()
	if err != nil {
		return protocol.Identity{}, err
	}
	return a.Verify(token)
}

// Verify decides about a token; a refusal is an *protocol.Error.
func (a *JWT) Verify(token string) (protocol.Identity, error) {
	identity, err := a.verify(token)
	if err != nil {
		e := protocol.Fatalf(protocol.CodeInvalidPassword, "JWT authentication error")
		e.Err = err
		return protocol.Identity{}, e
	}
	return identity, nil
}

func (a *JWT) verify(token string) (protocol.Identity, error) {
	var c claims
	parser := jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}))
	_, err := parser.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) {
		var set jwt.VerificationKeySet
		for _, key := range a.keys.get() {
			set.Keys = append(set.Keys, key)
		}
		return set, nil
	})
	if err != nil {
		return protocol.Identity{}, fmt.Errorf("verify token: %w", err)
	}
	identity := protocol.Identity{User: c.Subject, Method: "jwt"}
	if identity.User == "" {
		identity.User = c.Scope
	}
	if c.TenantID != "" {
		tenant, err := wal.ParseTenantID(c.TenantID)
		if err != nil {
			return protocol.Identity{}, fmt.Errorf("claim tenant_id: %w", err)
		}
		identity.Tenant = &tenant
	}
	switch {
	case slices.Contains(a.scopes, c.Scope):
		identity.Admin = identity.Tenant == nil
	case c.Scope == ScopeTenant && identity.Tenant != nil:
	case c.Scope == ScopeTenant:
		return protocol.Identity{}, errors.New("scope tenant without tenant_id")
	default:
		return protocol.Identity{}, fmt.Errorf("scope %q is not accepted here", c.Scope)
	}
	return identity, nil
}
