package auth

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"strings"

	"github.com/walhaven/walhaven/wal"
)

// User is one line of a users file.
type User struct {
	Name     string
	Verifier Verifier
	Admin    bool          // may run commands of every scope
	Tenant   *wal.TenantID // restricted to this tenant; nil is unrestricted
}

// String is the line of a users file:
//
//	"name" "SCRAM-SHA-256$4096:...$...:..." admin tenant=<32 hex digits>
//
// name and verifier as in PgBouncer's auth_file, the attributes optional.
func (u User) String() string {
	line := fmt.Sprintf("%s %s", quote(u.Name), quote(u.Verifier.String()))
	if u.Admin {
		line += " admin"
	}
	if u.Tenant != nil {
		line += " tenant=" + u.Tenant.String()
	}
	return line
}

func quote(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// ParseUsers reads the content of a users file. Blank lines and those that
// begin with # are skipped.
func ParseUsers(content []byte) (map[string]User, error) {
	users := make(map[string]User)
	for i, line := range bytes.Split(content, []byte("\n")) {
		text := strings.TrimSpace(string(line))
		if text == "" || text[0] == '#' {
			continue
		}
		u, err := parseUser(text)
		if err != nil {
			return nil, fmt.Errorf("users file, line %d: %w", i+1, err)
		}
		if _, twice := users[u.Name]; twice {
			return nil, fmt.Errorf("users file, line %d: user %q is there twice", i+1, u.Name)
		}
		users[u.Name] = u
	}
	return users, nil
}

func parseUser(line string) (u User, err error) {
	var verifier string
	if u.Name, line, err = field(line); err != nil {
		return u, err
	}
	if verifier, line, err = field(line); err != nil {
		return u, err
	}
	if u.Name == "" {
		return u, fmt.Errorf("the user's name is empty")
	}
	if u.Verifier, err = ParseVerifier(verifier); err != nil {
		return u, err
	}
	for _, attribute := range strings.Fields(line) {
		key, value, _ := strings.Cut(attribute, "=")
		switch {
		case attribute == "admin":
			u.Admin = true
		case key == "tenant":
			tenant, err := wal.ParseTenantID(value)
			if err != nil {
				return u, fmt.Errorf("attribute tenant: %w", err)
			}
			u.Tenant = &tenant
		default:
			return u, fmt.Errorf("unknown attribute %q (admin, tenant=ID)", attribute)
		}
	}
	return u, nil
}

// field cuts off a word, in double quotes or without.
func field(line string) (word, rest string, err error) {
	line = strings.TrimLeft(line, " \t")
	if !strings.HasPrefix(line, `"`) {
		if i := strings.IndexAny(line, " \t"); i >= 0 {
			return line[:i], line[i:], nil
		}
		return line, "", nil
	}
	for i := 1; i < len(line); i++ {
		if line[i] != '"' {
			continue
		}
		if i+1 < len(line) && line[i+1] == '"' {
			i++
			continue
		}
		return strings.ReplaceAll(line[1:i], `""`, `"`), line[i+1:], nil
	}
	return "", "", fmt.Errorf("unterminated quote")
}

// Users is a users file that is read again when it changes.
type Users struct {
	file *reloaded[userSet]
}

type userSet struct {
	byName     map[string]User
	mockKey    [sha256.Size]byte // for the salts of users that do not exist
	iterations int
}

// LoadUsers reads a users file. Later faults of the file are logged and leave
// the last good content in force.
func LoadUsers(path string, log *slog.Logger) (*Users, error) {
	file, err := newReloaded(
		func() ([]string, error) { return []string{path}, nil },
		func(files [][]byte) (userSet, error) { return newUserSet(files[0]) },
		faultLogger(log, "users file"))
	if err != nil {
		return nil, err
	}
	return &Users{file: file}, nil
}

func newUserSet(content []byte) (userSet, error) {
	byName, err := ParseUsers(content)
	if err != nil {
		return userSet{}, err
	}
	set := userSet{byName: byName, iterations: defaultIterations}
	// Outsiders must not be able to compute the salt of a name, and it should
	// not change when the server restarts: both hold for a hash of the secrets.
	set.mockKey = sha256.Sum256(append([]byte("walhaven mock authentication\x00"), content...))
	for _, u := range byName {
		set.iterations = max(set.iterations, u.Verifier.Iterations)
	}
	return set, nil
}

// Lookup finds a user.
func (u *Users) Lookup(name string) (User, bool) {
	user, ok := u.file.get().byName[name]
	return user, ok
}

func faultLogger(log *slog.Logger, what string) func(error) {
	return func(err error) {
		if log != nil {
			log.Error("authentication files are not usable, the last good ones stay in force", "what", what, "err", err)
		}
	}
}
