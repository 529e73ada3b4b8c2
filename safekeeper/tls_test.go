package safekeeper_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/auth"
	"github.com/walhaven/walhaven/protocol/walstream"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/safekeeper"
)

// Queries and streams work inside TLS, with the certificate verified.
func TestEverythingInsideTLS(t *testing.T) {
	files, ca := selfSigned(t)
	config, err := auth.ServerTLS(files, logger(t))
	require.NoError(t, err)
	n := &node{id: 1, dir: t.TempDir()}
	n.process = &process{t: t, addr: freeAddr(t), start: func(ln net.Listener) func(context.Context) error {
		c := safekeeper.DefaultConfig()
		c.ID, c.DataDir, c.MinFreeDisk = 1, n.dir, 1
		s, err := safekeeper.New(safekeeper.Options{Config: c, Auth: auth.Policy{}, TLS: config, Logger: logger(t)})
		require.NoError(t, err)
		return func(ctx context.Context) error { return s.Run(ctx, ln) }
	}}
	n.up()
	t.Cleanup(n.down)
	o := builtOrigin(t, 1<<20)
	o.found(t, []*node{n})
	p := propose(t, n, o, 1, nil)
	p.append(o.end(), 0)
	p.waitFlush(o.end())
	p.append(o.end(), o.end())
	p.close()
	n.waitLSN("commit_lsn", o.end())

	secure := n.conninfo() + " sslmode=verify-ca sslrootcert=" + ca
	rows, err := replication.Query(t.Context(), secure, "SHOW NODE", n.options())
	require.NoError(t, err)
	require.Len(t, rows, 1)
	options := n.options()
	options.Params["replication"] = "true"
	stream, err := replication.Dial(t.Context(), secure, "START_REPLICATION PHYSICAL "+o.from.String()+" TIMELINE 1", options)
	require.NoError(t, err)
	defer stream.Close() //nolint:errcheck // The test is over.
	msg, err := stream.Receive()
	require.NoError(t, err)
	require.Equal(t, byte(walstream.KindXLogData), walstream.Kind(msg))

	_, otherCA := selfSigned(t)
	_, err = replication.Query(t.Context(), n.conninfo()+" sslmode=verify-ca sslrootcert="+otherCA, "SHOW NODE", n.options())
	require.Error(t, err, "a certificate of somebody else's authority")
}

func selfSigned(t *testing.T) (files auth.TLSFiles, ca string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "127.0.0.1"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	require.NoError(t, err)
	key, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	dir := t.TempDir()
	files = auth.TLSFiles{Certificate: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	require.NoError(t, os.WriteFile(files.Certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(files.Key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600))
	return files, files.Certificate
}
