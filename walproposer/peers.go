package walproposer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/walhaven/walhaven/internal/conninfo"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
)

// lookTimeout bounds a question to a safekeeper.
const lookTimeout = 3 * time.Second

// peers are the safekeepers of one timeline, by their place in the operator's
// list.
type peers struct {
	mu        sync.RWMutex
	conninfos []string // see all
	tenant    wal.TenantID
	timeline  string // ID or name
}

// newPeers reads the operator's list.
func newPeers(list []string, user, password string, tenant wal.TenantID, timeline string) (*peers, error) {
	p := &peers{tenant: tenant, timeline: timeline}
	for _, s := range list {
		one, err := conninfoOf(strings.TrimSpace(s), user, password)
		if err != nil {
			return nil, err
		}
		p.conninfos = append(p.conninfos, one)
	}
	return p, nil
}

// conninfoOf makes a connection string of host:port; others stay as they are.
func conninfoOf(s, user, password string) (string, error) {
	if strings.Contains(s, "=") || strings.Contains(s, "://") {
		return s, nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", fmt.Errorf("safekeeper %q: %w", s, err)
	}
	settings := map[string]string{"host": host, "port": port}
	if user != "" {
		settings["user"] = user
	}
	if password != "" {
		settings["password"] = password
	}
	return conninfo.Format(settings), nil
}

// withoutPasswords are the connection strings for a process that gets its logins
// otherwise.
func (p *peers) withoutPasswords() ([]string, error) {
	out := make([]string, len(p.all()))
	for i, c := range p.all() {
		var err error
		if out[i], err = conninfo.WithoutPassword(c); err != nil {
			return nil, fmt.Errorf("safekeeper #%d: %w", i+1, err)
		}
	}
	return out, nil
}

// options choose the timeline on a connection to a safekeeper.
func (p *peers) options() string {
	return fmt.Sprintf("-c tenant_id=%s -c timeline_id=%s", p.tenant, p.timeline)
}

func (p *peers) dialOptions(timeout time.Duration) replication.DialOptions {
	return replication.DialOptions{Timeout: timeout, Params: map[string]string{
		"options": p.options(), "application_name": ApplicationName,
	}}
}

// query asks one safekeeper.
func (p *peers) query(ctx context.Context, peer int, sql string, timeout time.Duration) ([]replication.Row, error) {
	rows, err := replication.Query(ctx, p.all()[peer], sql, p.dialOptions(timeout))
	if err != nil {
		return nil, fmt.Errorf("safekeeper %s: %w", p.address(peer), err)
	}
	return rows, nil
}

// address is how a safekeeper is called in messages.
func (p *peers) address(peer int) string {
	c, err := pgconn.ParseConfig(p.all()[peer])
	if err != nil {
		return fmt.Sprint("#", peer+1)
	}
	return net.JoinHostPort(c.Host, fmt.Sprint(c.Port))
}

// addresses are those of all peers.
func (p *peers) addresses() string {
	var out []string
	for peer := range p.all() {
		out = append(out, p.address(peer))
	}
	return strings.Join(out, ",")
}

// errNoTimeline says that a safekeeper answers but lacks the timeline.
var errNoTimeline = errors.New("timeline is not there")

// undefinedObject is what a safekeeper answers for a timeline that it lacks.
const undefinedObject = "42704"

func isUndefined(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == undefinedObject
}

// status asks one safekeeper where it stands.
func (p *peers) status(ctx context.Context, peer int) (replication.Status, error) {
	rows, err := p.query(ctx, peer, "TIMELINE_STATUS", lookTimeout)
	switch {
	case isUndefined(err), err == nil && len(rows) == 0:
		return replication.Status{}, fmt.Errorf("safekeeper %s: %w", p.address(peer), errNoTimeline)
	case err != nil:
		return replication.Status{}, err
	}
	return replication.ParseStatus(rows[0])
}

// statuses asks all safekeepers at once. The answers are in the order of the
// list. With enough, one that hangs is not waited for: see replication.Ask.
func (p *peers) statuses(ctx context.Context, enough func([]replication.Answer) bool) []replication.Answer {
	return replication.Ask(ctx, len(p.all()), p.status, enough)
}

func looksOf(all []replication.Answer) (looks []consensus.Look) {
	for i, s := range all {
		if s.Err == nil {
			looks = append(looks, s.Look(i))
		}
	}
	return looks
}
