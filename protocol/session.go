package protocol

import (
	"context"
	"crypto/x509"
	"net"

	"github.com/walhaven/walhaven/protocol/admin"
	"github.com/walhaven/walhaven/wal"
)

// ReplicationMode is the value of the start-up parameter "replication".
type ReplicationMode uint8

// Replication modes of a session.
const (
	None     ReplicationMode = iota // ordinary: every command, both query protocols
	Physical                        // replication=true: replication commands only
	Database                        // replication=database: replication commands and SQL
)

// Session is one client connection after start-up. Fields are set before the
// Handler sees it and belong to the session's goroutine.
type Session struct {
	PID             uint32            // unique among the live connections of this Server
	Params          map[string]string // start-up parameters as received
	User            string
	Database        string // defaults to User, as in PostgreSQL
	ApplicationName string
	Replication     ReplicationMode
	Options         map[string]string // the parameter "options": `-c k=v`, `--k=v` and bare `k=v`
	Identity        Identity          // set by authentication
	Remote, Local   net.Addr
	TLS             bool
	State           any // the Handler's own

	// Parameters by lower-case name: those that clients are told about, and
	// others that the client set.
	reported, set map[string]parameter
}

// Identity is who a connection was found to be.
type Identity struct {
	User   string        // authenticated name, may differ from Session.User (JWT)
	Method string        // trust, scram-sha-256, jwt, token, cert
	Admin  bool          // may run commands of every scope
	Tenant *wal.TenantID // restricted to this tenant; nil is unrestricted
	// Timeline restricts to this timeline of Tenant; nil is unrestricted.
	Timeline *wal.TimelineID
	// Writer may push WAL without the right Admin: a one-time token of somebody
	// who may.
	Writer bool
}

// MayWrite says whether the user may push WAL, which decides elections and cuts
// logs: an admin, a compute's own token, which is a JWT of one tenant, or a
// one-time token of either.
func (i Identity) MayWrite() bool {
	return i.Admin || i.Writer || i.Method == "jwt" && i.Tenant != nil
}

// Allows says whether the identity may see a tenant's data.
func (i Identity) Allows(tenant wal.TenantID) bool { return i.Tenant == nil || *i.Tenant == tenant }

// Permits says whether the identity may see a timeline's data.
func (i Identity) Permits(id wal.TTID) bool {
	return i.Allows(id.Tenant) && (i.Timeline == nil || *i.Timeline == id.Timeline)
}

// Authenticator decides who is connected. It talks to the client through ex
// and returns an *Error (FATAL) for a refusal; AuthenticationOk is sent by the
// server. Implementations are used by many connections at once.
type Authenticator interface {
	Authenticate(ctx context.Context, s *Session, ex Exchange) (Identity, error)
}

// Exchange carries the messages of one authentication. An error of its methods
// means that the client went away or broke the protocol and is to be returned
// as it is.
type Exchange interface {
	// CleartextPassword asks for a password and returns it.
	CleartextPassword() (string, error)
	// SASL offers mechanisms in order of preference; it returns the client's
	// choice, one of them, and its first message.
	SASL(mechanisms ...string) (mechanism string, initial []byte, err error)
	// SASLContinue sends a challenge and returns the response.
	SASLContinue(challenge []byte) (response []byte, err error)
	// SASLFinal sends the outcome of a successful exchange.
	SASLFinal(data []byte) error
	// ServerEndPoint is the channel binding data tls-server-end-point (RFC 5929)
	// of this connection's certificate; nil without TLS or for a certificate
	// that has none.
	ServerEndPoint() []byte
	// PeerCertificates is the client's verified certificate chain, leaf first;
	// nil without one.
	PeerCertificates() []*x509.Certificate
}

// Settings override or extend the parameters that a session reports, e.g.
// server_version.
type Settings map[string]string

// Column describes one column of a result; the zero type is text.
type Column = admin.Column

// Handler gives the commands their meaning. Methods of different sessions run
// at once; those of one session never do.
type Handler interface {
	// Begin runs after authentication. An error refuses the session (FATAL).
	Begin(ctx context.Context, s *Session) (Settings, error)
	// Describe returns the columns of a statement for the extended protocol;
	// nil, nil says that it returns no rows.
	Describe(ctx context.Context, s *Session, stmt string) ([]Column, error)
	// Execute runs one statement. ctx ends with the server, the connection's
	// command, or a cancel request. The statement has neither surrounding
	// blanks and comments nor its semicolon.
	Execute(ctx context.Context, s *Session, stmt string, w *ResultWriter) error
	// End runs once for each session whose Begin was called, also when Begin
	// failed.
	End(s *Session)
}
