package auth

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/xdg-go/stringprep"
)

// Numbers of SCRAM-SHA-256 as PostgreSQL uses it (src/include/common/scram-common.h).
const (
	defaultIterations = 4096
	maxIterations     = 10_000_000
	saltLength        = 16
	maxSaltLength     = 1024
	scramPrefix       = "SCRAM-SHA-256$"
)

// Verifier is what a server keeps of a password: pg_authid.rolpassword.
type Verifier struct {
	Iterations int
	Salt       []byte
	StoredKey  [sha256.Size]byte
	ServerKey  [sha256.Size]byte
}

// MakeVerifier derives the verifier of a password with a random salt and
// PostgreSQL's number of iterations.
func MakeVerifier(password string) (Verifier, error) {
	if password == "" {
		return Verifier{}, errors.New("make verifier: the password is empty")
	}
	salt := make([]byte, saltLength)
	_, _ = rand.Read(salt) // never fails, see crypto/rand
	return makeVerifier(password, salt)
}

func makeVerifier(password string, salt []byte) (Verifier, error) {
	// As in PostgreSQL, a password that SASLprep refuses is used as it is.
	if prepared, err := stringprep.SASLprep.Prepare(password); err == nil {
		password = prepared
	}
	salted, err := pbkdf2.Key(sha256.New, password, salt, defaultIterations, sha256.Size)
	if err != nil {
		return Verifier{}, fmt.Errorf("make verifier: %w", err)
	}
	v := Verifier{Iterations: defaultIterations, Salt: salt}
	v.StoredKey = sha256.Sum256(hmacSHA256(salted, "Client Key"))
	copy(v.ServerKey[:], hmacSHA256(salted, "Server Key"))
	return v, nil
}

func hmacSHA256(key []byte, message string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(message))
	return mac.Sum(nil)
}

// String is the form of pg_authid:
// SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>.
func (v Verifier) String() string {
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("%s%d:%s$%s:%s", scramPrefix, v.Iterations, b64(v.Salt), b64(v.StoredKey[:]), b64(v.ServerKey[:]))
}

// ParseVerifier reads the form of String.
func ParseVerifier(text string) (Verifier, error) {
	var v Verifier
	rest, ok := strings.CutPrefix(text, scramPrefix)
	if !ok {
		return v, errors.New("not a SCRAM-SHA-256 verifier")
	}
	factors, keys, ok1 := strings.Cut(rest, "$")
	iterations, salt, ok2 := strings.Cut(factors, ":")
	stored, server, ok3 := strings.Cut(keys, ":")
	if !ok1 || !ok2 || !ok3 {
		return v, errors.New("malformed SCRAM-SHA-256 verifier")
	}
	n, err := strconv.Atoi(iterations)
	if err != nil || n < 1 || n > maxIterations {
		return v, errors.New("malformed SCRAM-SHA-256 verifier: iterations")
	}
	v.Iterations = n
	if v.Salt, err = base64.StdEncoding.DecodeString(salt); err != nil || len(v.Salt) == 0 || len(v.Salt) > maxSaltLength {
		return v, errors.New("malformed SCRAM-SHA-256 verifier: salt")
	}
	if !decodeKey(&v.StoredKey, stored) || !decodeKey(&v.ServerKey, server) {
		return v, errors.New("malformed SCRAM-SHA-256 verifier: keys")
	}
	return v, nil
}

func decodeKey(dst *[sha256.Size]byte, text string) bool {
	b, err := base64.StdEncoding.DecodeString(text)
	return err == nil && copy(dst[:], b) == len(dst) && len(b) == len(dst)
}
