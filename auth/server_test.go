package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/wal"
)

// whoami answers every statement with the session's identity.
type whoami struct{}

func (whoami) Begin(context.Context, *protocol.Session) (protocol.Settings, error) { return nil, nil }
func (whoami) End(*protocol.Session)                                               {}
func (whoami) Describe(context.Context, *protocol.Session, string) ([]protocol.Column, error) {
	return nil, nil
}

func (whoami) Execute(_ context.Context, s *protocol.Session, _ string, w *protocol.ResultWriter) error {
	if err := w.Columns(protocol.Column{Name: "identity"}); err != nil {
		return err
	}
	id := s.Identity.Method + " " + s.Identity.User
	if s.Identity.Admin {
		id += " admin"
	}
	if s.Identity.Tenant != nil {
		id += " " + s.Identity.Tenant.String()
	}
	if err := w.Row(id); err != nil {
		return err
	}
	return w.Complete("")
}

// listen serves whoami behind an authenticator until the test ends.
func listen(t *testing.T, ln net.Listener, a protocol.Authenticator, config *tls.Config) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	server := protocol.NewServer(whoami{}, protocol.Options{Auth: a, TLS: config})
	go func() { done <- server.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	return ln.Addr().String()
}

func listenTCP(t *testing.T, a protocol.Authenticator, config *tls.Config) (host, port string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	host, port, err = net.SplitHostPort(listen(t, ln, a, config))
	require.NoError(t, err)
	return host, port
}

// connect asks whoami with pgconn.
func connect(t *testing.T, conninfo string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgconn.Connect(ctx, conninfo)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	results, err := conn.Exec(ctx, "WHO").ReadAll()
	require.NoError(t, err)
	return string(results[0].Rows[0][0]), nil
}

// elsewhere makes connections look as if they came over the network.
type elsewhere struct{ a protocol.Authenticator }

func (e elsewhere) Authenticate(ctx context.Context, s *protocol.Session, ex protocol.Exchange) (protocol.Identity, error) {
	s.Remote = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}
	return e.a.Authenticate(ctx, s, ex)
}

// writeFile puts a new file in the place of an old one. Written over, one of the
// same size would look like the old one within a tick of the file system's clock.
func writeFile(t *testing.T, path string, content []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".new", content, 0o600))
	require.NoError(t, os.Rename(path+".new", path))
}

// usersFile has "ann" (admin) and "bob" (one tenant), passwords as names.
func usersFile(t *testing.T) *Users {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users")
	ann, err := MakeVerifier("ann")
	require.NoError(t, err)
	bob, err := MakeVerifier("bob")
	require.NoError(t, err)
	tenant := testTenant
	content := "# users\n\n" + User{Name: "ann", Verifier: ann, Admin: true}.String() + "\n" +
		User{Name: "bob", Verifier: bob, Tenant: &tenant}.String() + "\n"
	writeFile(t, path, []byte(content))
	users, err := LoadUsers(path, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	return users
}

var testTenant = wal.TenantID{1, 2, 3, 0xff}

// certificates makes a CA, a server certificate for 127.0.0.1 and a client
// certificate for "ann".
type certificates struct {
	dir, ca, cert, key, clientCert, clientKey string
}

func makeCertificates(t *testing.T, serial int64) certificates {
	t.Helper()
	dir := t.TempDir()
	c := certificates{
		dir: dir, ca: filepath.Join(dir, "ca.pem"), cert: filepath.Join(dir, "server.pem"),
		key: filepath.Join(dir, "server.key"), clientCert: filepath.Join(dir, "client.pem"), clientKey: filepath.Join(dir, "client.key"),
	}
	c.issue(t, serial)
	return c
}

func (c certificates) issue(t *testing.T, serial int64) {
	t.Helper()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := func(name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		}
	}
	ca := template("ca")
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	require.NoError(t, err)
	writeFile(t, c.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}))
	leaf := func(cert *x509.Certificate, certFile, keyFile string) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		der, err := x509.CreateCertificate(rand.Reader, cert, ca, key.Public(), caKey)
		require.NoError(t, err)
		keyDER, err := x509.MarshalPKCS8PrivateKey(key)
		require.NoError(t, err)
		writeFile(t, certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
		writeFile(t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	}
	server := template("localhost")
	server.IPAddresses, server.ExtKeyUsage = []net.IP{net.IPv4(127, 0, 0, 1)}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	leaf(server, c.cert, c.key)
	client := template("ann")
	client.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	leaf(client, c.clientCert, c.clientKey)
}

// jwtKey makes a key pair and writes the public key.
func jwtKey(t *testing.T, path string) ed25519.PrivateKey {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(public)
	require.NoError(t, err)
	writeFile(t, path, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	return private
}

func sign(t *testing.T, method jwt.SigningMethod, key any, c jwt.MapClaims) string {
	t.Helper()
	token, err := jwt.NewWithClaims(method, c).SignedString(key)
	require.NoError(t, err)
	return token
}
