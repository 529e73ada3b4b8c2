package walproposer_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/internal/daemon"
)

// TestHTTPInsideTLS shows that --tls-cert and --tls-key leave nothing in the
// clear, that clients can verify the certificate, and that a renewed one is used
// without a restart. PostgreSQL need not be there for that.
func TestHTTPInsideTLS(t *testing.T) {
	dir := t.TempDir()
	first := writeCertificate(t, dir)
	port, err := compute.FreePort()
	require.NoError(t, err)
	listen := fmt.Sprintf("127.0.0.1:%d", port)
	args := []string{
		modeFlag(), "--postgres", "host=127.0.0.1 port=1", "--safekeepers", "127.0.0.1:1", "--listen-http", listen,
		"--tls-cert", filepath.Join(dir, "cert.pem"),
	}
	require.Equal(t, daemon.ExitUsage, daemon.ExitCode(start(t.Context(), io.Discard, io.Discard, args...)), "a certificate without its key")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- start(ctx, io.Discard, testWriter{t}, append(args, "--tls-key", filepath.Join(dir, "key.pem"))...)
	}()
	require.Eventually(t, func() bool { return livez(listen, first) == nil }, patience, 20*time.Millisecond)

	answer, err := http.Get("http://" + listen + "/livez") //nolint:noctx // Of this process.
	if err == nil {
		require.Equal(t, http.StatusBadRequest, answer.StatusCode, "an answer in the clear")
		require.NoError(t, answer.Body.Close())
	}
	second := writeCertificate(t, dir)
	var unknown x509.UnknownAuthorityError
	require.ErrorAs(t, livez(listen, x509.NewCertPool()), &unknown, "a certificate of an authority that is not trusted")
	require.Eventually(t, func() bool { return livez(listen, second) == nil }, patience, 20*time.Millisecond, "the renewed certificate")
	cancel()
	require.NoError(t, <-done)
}

// livez asks over TLS, trusting roots only.
func livez(listen string, roots *x509.CertPool) error {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}, DisableKeepAlives: true}
	answer, err := (&http.Client{Transport: transport}).Get("https://" + listen + "/livez")
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("answered %s", answer.Status)
	}
	_ = answer.Body.Close()
	return err
}

// writeCertificate makes a key and a certificate that vouches for itself, in
// place of those before.
func writeCertificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, public, private)
	require.NoError(t, err)
	key, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: key},
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600))
	}
	made, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(made)
	return roots
}
