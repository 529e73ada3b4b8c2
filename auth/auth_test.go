package auth

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol"
)

// requireRefused wants a FATAL with this SQLSTATE.
func requireRefused(t *testing.T, err error, code string) *pgconn.PgError {
	t.Helper()
	var e *pgconn.PgError
	require.ErrorAs(t, err, &e)
	require.Equal(t, "FATAL "+code, e.Severity+" "+e.Code)
	return e
}

func TestTrust(t *testing.T) {
	host, port := listenTCP(t, Policy{}, nil)
	who, err := connect(t, "host="+host+" port="+port+" user=x sslmode=disable")
	require.NoError(t, err)
	require.Equal(t, "trust x admin", who)

	host, port = listenTCP(t, elsewhere{Policy{}}, nil)
	_, err = connect(t, "host="+host+" port="+port+" user=x sslmode=disable")
	requireRefused(t, err, "28000")

	host, port = listenTCP(t, elsewhere{Policy{Trust: Trust{Insecure: true}}}, nil)
	_, err = connect(t, "host="+host+" port="+port+" user=x sslmode=disable")
	require.NoError(t, err)
}

func TestTrustOnUnixSockets(t *testing.T) {
	for _, tc := range []struct {
		dir, socket os.FileMode
		trusted     bool
	}{{0o700, 0o777, true}, {0o755, 0o700, true}, {0o755, 0o777, false}, {0o750, 0o770, false}} {
		dir := t.TempDir()
		path := filepath.Join(dir, ".s.PGSQL.5432")
		ln, err := net.Listen("unix", path)
		require.NoError(t, err)
		require.NoError(t, os.Chmod(path, tc.socket))
		require.NoError(t, os.Chmod(dir, tc.dir))
		listen(t, ln, Policy{}, nil)
		_, err = connect(t, "host="+dir+" port=5432 user=x")
		if tc.trusted {
			require.NoError(t, err, "%o %o", tc.dir, tc.socket)
		} else {
			requireRefused(t, err, "28000")
		}
	}
}

func TestPrivate(t *testing.T) {
	require.True(t, Private(&net.TCPAddr{IP: net.IPv6loopback}, nil))
	require.True(t, Private(&net.TCPAddr{IP: net.IPv4(127, 9, 9, 9)}, nil))
	require.False(t, Private(&net.TCPAddr{IP: net.IPv4(10, 0, 0, 1)}, nil))
	require.False(t, Private(&net.UnixAddr{}, &net.UnixAddr{Name: "@abstract", Net: "unix"}))
	require.False(t, Private(nil, nil))
}

func TestSCRAM(t *testing.T) {
	host, port := listenTCP(t, Policy{Users: usersFile(t)}, nil)
	address := "sslmode=disable host=" + host + " port=" + port
	who, err := connect(t, address+" user=ann password=ann")
	require.NoError(t, err)
	require.Equal(t, "scram-sha-256 ann admin", who)
	who, err = connect(t, address+" user=bob password=bob")
	require.NoError(t, err)
	require.Equal(t, "scram-sha-256 bob "+testTenant.String(), who)
	wrong := requireRefused(t, second(connect(t, address+" user=ann password=bob")), "28P01")
	unknown := requireRefused(t, second(connect(t, address+" user=eve password=ann")), "28P01")
	require.Equal(t, strings.Replace(wrong.Message, "ann", "eve", 1), unknown.Message)
}

func second(_ string, err error) error { return err }

// TestMockExchange checks that an unknown user sees salt and iterations that
// belong to the name, the same each time.
func TestMockExchange(t *testing.T) {
	users := usersFile(t)
	challenge := func(user string) string {
		x := &fakeExchange{mechanism: mechanism, messages: []string{"n,,n=,r=abc", ""}}
		_, err := SCRAM{Users: users}.Authenticate(context.Background(), &protocol.Session{User: user}, x)
		require.Equal(t, "28P01", protocol.SQLState(err))
		_, rest, _ := strings.Cut(x.challenge, ",")
		return rest
	}
	first, again := challenge("eve"), challenge("eve")
	require.Equal(t, first, again)
	require.NotEqual(t, first, challenge("mallory"))
	require.Regexp(t, `^s=[A-Za-z0-9+/]{22}==,i=4096$`, challenge("eve"))
	require.Regexp(t, `^s=[A-Za-z0-9+/]{22}==,i=4096$`, challenge("ann"))
}

// fakeExchange plays a client whose messages are given.
type fakeExchange struct {
	mechanism string
	messages  []string
	binding   []byte
	challenge string
	offered   []string
}

func (x *fakeExchange) next() []byte {
	m := x.messages[0]
	x.messages = x.messages[1:]
	return []byte(m)
}

func (x *fakeExchange) SASL(offered ...string) (string, []byte, error) {
	x.offered = offered
	return x.mechanism, x.next(), nil
}

func (x *fakeExchange) SASLContinue(c []byte) ([]byte, error) {
	x.challenge = string(c)
	return x.next(), nil
}
func (x *fakeExchange) SASLFinal([]byte) error                { return nil }
func (x *fakeExchange) ServerEndPoint() []byte                { return x.binding }
func (x *fakeExchange) PeerCertificates() []*x509.Certificate { return nil }
func (x *fakeExchange) CleartextPassword() (string, error)    { return string(x.next()), nil }

// TestChannelBindingDowngrade holds the rules of section 2: "y" while we offered
// PLUS, PLUS without data, and data without PLUS all fail.
func TestChannelBindingDowngrade(t *testing.T) {
	users := usersFile(t)
	for name, tc := range map[string]struct {
		mechanism, first string
		binding          []byte
		offered          int
		code             string
	}{
		"y though offered": {mechanism, "y,,n=,r=abc", []byte("hash"), 2, "28P01"},
		"PLUS without":     {mechanismPlus, "n,,n=,r=abc", []byte("hash"), 2, "28P01"},
		"binding, no PLUS": {mechanism, "p=tls-server-end-point,,n=,r=abc", []byte("hash"), 2, "08P01"},
		"other binding":    {mechanismPlus, "p=tls-unique,,n=,r=abc", []byte("hash"), 2, "28P01"},
		"garbage":          {mechanism, "garbage", nil, 1, "28P01"},
		"empty":            {mechanism, "", nil, 1, "28P01"},
	} {
		x := &fakeExchange{mechanism: tc.mechanism, messages: []string{tc.first, "c=x"}, binding: tc.binding}
		_, err := SCRAM{Users: users}.Authenticate(context.Background(), &protocol.Session{User: "ann"}, x)
		require.Equal(t, tc.code, protocol.SQLState(err), name)
		require.Len(t, x.offered, tc.offered, name)
	}
}

func TestTLS(t *testing.T) {
	c := makeCertificates(t, 1)
	config, err := ServerTLS(TLSFiles{Certificate: c.cert, Key: c.key, ClientCA: c.ca}, nil)
	require.NoError(t, err)
	host, port := listenTCP(t, elsewhere{Policy{Users: usersFile(t), RequireTLS: true, Certificates: true}}, config)
	address := "host=" + host + " port=" + port
	verified := address + " sslmode=verify-full sslrootcert=" + c.ca
	for conninfo, want := range map[string]string{
		verified + " user=ann password=ann":                                       "scram-sha-256 ann admin",
		verified + " user=ann password=ann sslnegotiation=direct":                 "scram-sha-256 ann admin",
		verified + " user=ann password=ann channel_binding=require":               "scram-sha-256 ann admin",
		verified + " user=ann sslcert=" + c.clientCert + " sslkey=" + c.clientKey: "cert ann admin",
		verified + " user=bob password=bob sslcert=" + c.clientCert + " sslkey=" + c.clientKey: "scram-sha-256 bob " +
			testTenant.String(),
	} {
		who, err := connect(t, conninfo)
		require.NoError(t, err, conninfo)
		require.Equal(t, want, who, conninfo)
	}
	requireRefused(t, second(connect(t, address+" sslmode=disable user=ann password=ann")), "28000")
	requireRefused(t, second(connect(t, verified+" user=ann password=wrong")), "28P01")
}

// TestPsqlBindsTheChannel lets libpq's implementation of SCRAM-SHA-256-PLUS
// judge ours.
func TestPsqlBindsTheChannel(t *testing.T) {
	path, err := exec.LookPath("psql")
	if err != nil {
		t.Skip("psql is not installed")
	}
	c := makeCertificates(t, 1)
	config, err := ServerTLS(TLSFiles{Certificate: c.cert, Key: c.key}, nil)
	require.NoError(t, err)
	host, port := listenTCP(t, Policy{Users: usersFile(t)}, config)
	for conninfo, ok := range map[string]bool{
		"sslmode=verify-full channel_binding=require password=ann sslrootcert=" + c.ca: true,
		"sslmode=require channel_binding=disable password=ann":                         true,
		"sslmode=disable password=ann":                                                 true,
		"sslmode=require password=wrong":                                               false,
		"sslmode=disable channel_binding=require password=ann":                         false,
	} {
		cmd := exec.Command(path, "-X", "-At", "host="+host+" port="+port+" user=ann "+conninfo, "-c", "WHO")
		cmd.Env = []string{"PGPASSFILE=/nonexistent", "HOME=/nonexistent"}
		out, err := cmd.CombinedOutput()
		require.Equal(t, ok, err == nil, "%s: %s", conninfo, out)
		if ok {
			require.Equal(t, "scram-sha-256 ann admin\n", string(out))
		}
	}
}

func TestDirectTLSNeedsALPN(t *testing.T) {
	c := makeCertificates(t, 1)
	config, err := ServerTLS(TLSFiles{Certificate: c.cert, Key: c.key}, nil)
	require.NoError(t, err)
	host, port := listenTCP(t, Policy{}, config)
	for protocols, refused := range map[string]bool{"": true, "http/1.1": true, "postgresql": false} {
		client := &tls.Config{InsecureSkipVerify: true}
		if protocols != "" {
			client.NextProtos = []string{protocols}
		}
		conn, err := tls.Dial("tcp", net.JoinHostPort(host, port), client)
		if err != nil {
			require.True(t, refused, "%s: %v", protocols, err)
			continue
		}
		_, err = conn.Write([]byte("\x00\x00\x00\x10\x00\x03\x00\x00user\x00u\x00\x00"))
		require.NoError(t, err)
		require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
		_, err = io.ReadFull(conn, make([]byte, 9))
		require.Equal(t, refused, err != nil, protocols)
		_ = conn.Close()
	}
}

// TestCertificateReload replaces the files under a running server; a broken
// replacement changes nothing.
func TestCertificateReload(t *testing.T) {
	c := makeCertificates(t, 1)
	config, err := ServerTLS(TLSFiles{Certificate: c.cert, Key: c.key}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	serial := func() int64 {
		cert, err := config.GetCertificate(nil)
		require.NoError(t, err)
		return cert.Leaf.SerialNumber.Int64()
	}
	require.EqualValues(t, 1, serial())
	c.issue(t, 2)
	require.EqualValues(t, 2, serial())
	writeFile(t, c.key, []byte("broken"))
	require.EqualValues(t, 2, serial())
	require.NoError(t, os.Remove(c.cert))
	require.EqualValues(t, 2, serial())
	c.issue(t, 3)
	require.EqualValues(t, 3, serial())
}

func TestJWT(t *testing.T) {
	dir := t.TempDir()
	first := jwtKey(t, filepath.Join(dir, "a.pem"))
	next := jwtKey(t, filepath.Join(dir, "b.pem"))
	keys, err := LoadJWT(dir, nil, ScopeSafekeeperData)
	require.NoError(t, err)
	host, port := listenTCP(t, Policy{JWT: keys}, nil)
	tenant := testTenant.String()
	future, past := time.Now().Add(time.Hour).Unix(), time.Now().Add(-time.Hour).Unix()
	other := jwtKey(t, filepath.Join(t.TempDir(), "c.pem"))
	for _, tc := range []struct{ name, token, want string }{
		{"tenant", sign(t, jwt.SigningMethodEdDSA, first, jwt.MapClaims{"scope": "tenant", "tenant_id": tenant}), "jwt tenant " + tenant},
		{"everything", sign(t, jwt.SigningMethodEdDSA, next, jwt.MapClaims{"scope": "safekeeperdata", "exp": future, "endpoint_id": ""}), "jwt safekeeperdata admin"},
		{"subject", sign(t, jwt.SigningMethodEdDSA, next, jwt.MapClaims{"scope": "safekeeperdata", "sub": "ops"}), "jwt ops admin"},
		{"tenant without ID", sign(t, jwt.SigningMethodEdDSA, first, jwt.MapClaims{"scope": "tenant"}), ""},
		{"bad ID", sign(t, jwt.SigningMethodEdDSA, first, jwt.MapClaims{"scope": "tenant", "tenant_id": "x"}), ""},
		{"other scope", sign(t, jwt.SigningMethodEdDSA, first, jwt.MapClaims{"scope": "pageserverapi"}), ""},
		{"no scope", sign(t, jwt.SigningMethodEdDSA, first, jwt.MapClaims{}), ""},
		{"expired", sign(t, jwt.SigningMethodEdDSA, first, jwt.MapClaims{"scope": "safekeeperdata", "exp": past}), ""},
		{"other key", sign(t, jwt.SigningMethodEdDSA, other, jwt.MapClaims{"scope": "safekeeperdata"}), ""},
		{"no signature", sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, jwt.MapClaims{"scope": "safekeeperdata"}), ""},
		{"HMAC with the public key", sign(t, jwt.SigningMethodHS256, []byte(first.Public().(ed25519.PublicKey)), jwt.MapClaims{"scope": "safekeeperdata"}), ""},
		{"garbage", "a.b.c", ""},
	} {
		who, err := connect(t, "sslmode=disable user=cloud_admin host="+host+" port="+port+" password="+tc.token)
		if tc.want == "" {
			e := requireRefused(t, err, "28P01")
			require.Equal(t, "JWT authentication error", e.Message, tc.name)
			continue
		}
		require.NoError(t, err, tc.name)
		require.Equal(t, tc.want, who, tc.name)
	}
	// Keys are read again: the first one is withdrawn.
	require.NoError(t, os.Remove(filepath.Join(dir, "a.pem")))
	_, err = keys.Verify(sign(t, jwt.SigningMethodEdDSA, first, jwt.MapClaims{"scope": "safekeeperdata"}))
	require.Error(t, err)
	_, err = keys.Verify(sign(t, jwt.SigningMethodEdDSA, next, jwt.MapClaims{"scope": "safekeeperdata"}))
	require.NoError(t, err)
}

func TestJWTNeedsAPrivateConnection(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.pem")
	key := jwtKey(t, path)
	keys, err := LoadJWT(path, nil, ScopeSafekeeperData)
	require.NoError(t, err)
	host, port := listenTCP(t, elsewhere{Policy{JWT: keys}}, nil)
	token := sign(t, jwt.SigningMethodEdDSA, key, jwt.MapClaims{"scope": "safekeeperdata"})
	conninfo := " sslmode=disable user=x password=" + token
	requireRefused(t, second(connect(t, "host="+host+" port="+port+conninfo)), "28000")
	host, port = listenTCP(t, elsewhere{Policy{JWT: keys, InsecurePassword: true}}, nil)
	_, err = connect(t, "host="+host+" port="+port+conninfo)
	require.NoError(t, err)
}

func TestUsersReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	v, err := MakeVerifier("x")
	require.NoError(t, err)
	writeFile(t, path, []byte(User{Name: "a", Verifier: v}.String()))
	var faults int
	users, err := LoadUsers(path, nil)
	require.NoError(t, err)
	users.file.fault = func(error) { faults++ }
	has := func(name string) bool { _, ok := users.Lookup(name); return ok }
	require.True(t, has("a"))
	writeFile(t, path, []byte(User{Name: "bb", Verifier: v}.String()))
	require.False(t, has("a"))
	require.True(t, has("bb"))
	writeFile(t, path, []byte("nonsense"))
	require.True(t, has("bb"))
	require.Equal(t, 1, faults)
	require.NoError(t, os.Chmod(path, 0o602))
	require.True(t, has("bb"))
	require.Equal(t, 2, faults)
	_, err = LoadUsers(path, nil)
	require.ErrorContains(t, err, "may be written by anyone")
}

// TestVerifierOfRFC7677 signs the RFC's exchange with our keys.
func TestVerifierOfRFC7677(t *testing.T) {
	salt, err := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	require.NoError(t, err)
	v, err := makeVerifier("pencil", salt)
	require.NoError(t, err)
	const message = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0," +
		"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	signature := base64.StdEncoding.EncodeToString(hmacSHA256(v.ServerKey[:], message))
	require.Equal(t, "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", signature)
	proof, err := base64.StdEncoding.DecodeString("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
	require.NoError(t, err)
	for i, b := range hmacSHA256(v.StoredKey[:], message) {
		proof[i] ^= b
	}
	require.Equal(t, v.StoredKey, sha256.Sum256(proof))
}

func TestVerifierForm(t *testing.T) {
	v, err := makeVerifier("pencil", []byte("salt-of-16-bytes"))
	require.NoError(t, err)
	again, err := ParseVerifier(v.String())
	require.NoError(t, err)
	require.Equal(t, v, again)
	for _, bad := range []string{
		"", "md5abc", "SCRAM-SHA-256$", "SCRAM-SHA-256$0:c2FsdA==$a:b", "SCRAM-SHA-256$x:c2FsdA==$a:b", "SCRAM-SHA-256$4096:$a:b",
		strings.Replace(v.String(), "4096", "999999999", 1), v.String()[:60], v.String() + "AAAA",
	} {
		_, err := ParseVerifier(bad)
		require.Error(t, err, bad)
	}
	_, err = MakeVerifier("")
	require.Error(t, err)
}

func TestParseUsersErrors(t *testing.T) {
	v, err := MakeVerifier("x")
	require.NoError(t, err)
	line := User{Name: "a", Verifier: v}.String()
	for content, want := range map[string]string{
		line + "\n" + line:         `users file, line 2: user "a" is there twice`,
		"# c\n\n" + line + " root": `users file, line 3: unknown attribute "root"`,
		line + " tenant=xyz":       "attribute tenant",
		`"a`:                       "unterminated quote",
		`a md5abc`:                 "not a SCRAM-SHA-256 verifier",
		`"" ` + v.String():         "name is empty",
	} {
		_, err := ParseUsers([]byte(content))
		require.ErrorContains(t, err, want)
	}
	users, err := ParseUsers([]byte(User{Name: `we"ird name`, Verifier: v, Admin: true}.String()))
	require.NoError(t, err)
	require.True(t, users[`we"ird name`].Admin)
}

// FuzzUsers checks that a users file never panics and that what was read reads
// the same when written.
func FuzzUsers(f *testing.F) {
	v, err := makeVerifier("x", []byte("0123456789abcdef"))
	if err != nil {
		f.Fatal(err)
	}
	tenant := testTenant
	f.Add([]byte(User{Name: "a", Verifier: v, Admin: true}.String() + "\n# c\n\n" + User{Name: `b "c`, Verifier: v, Tenant: &tenant}.String()))
	f.Add([]byte("a SCRAM-SHA-256$1:AA==$:"))
	f.Add([]byte(`"`))
	f.Fuzz(func(t *testing.T, content []byte) {
		users, err := ParseUsers(content)
		if err != nil {
			return
		}
		for _, u := range users {
			again, err := ParseUsers([]byte(u.String()))
			if err != nil || again[u.Name].String() != u.String() {
				t.Fatalf("%q reads as %v, %v", u.String(), again, err)
			}
		}
	})
}
