package walproposer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/replication"
)

// login is what one connection to a safekeeper logs in with.
type login struct {
	User     string `json:"user"`
	Password string `json:"password"`
	// Site is where it is good; the zero site is anywhere.
	Site site `json:"site,omitzero"`
	// Error says why there is none.
	Error string `json:"error,omitempty"`
}

// logins gives a push worker, which has no password of its own, a login for each
// connection.
type logins interface {
	login(ctx context.Context, peer int) (login, error)
}

// tokens are the logins that the tap makes: with the configured password it asks
// the safekeeper itself for a one-time token. A safekeeper that does not know such
// a thing gets the configured password from the worker too.
type tokens struct {
	peers *peers
	// unknown says which safekeepers do not know CREATE TOKEN.
	unknown []atomic.Bool
}

func newTokens(p *peers) *tokens {
	return &tokens{peers: p, unknown: make([]atomic.Bool, maxPeers)}
}

// createToken outlives the connection that the worker makes at once.
const createToken = "CREATE TOKEN (expires_in '30')"

func (t *tokens) login(ctx context.Context, peer int) (login, error) {
	if t.unknown[peer].Load() {
		return t.configured(peer)
	}
	c, err := pgconn.ParseConfig(t.peers.all()[peer])
	if err != nil {
		return login{}, err
	}
	var failed []error
	for _, at := range sitesOf(c) {
		l, err := t.create(ctx, peer, at)
		var refused *pgconn.PgError
		switch {
		case errors.As(err, &refused) && lacksTokens(refused):
			t.unknown[peer].Store(true)
			return t.configured(peer)
		case err == nil:
			return l, nil
		}
		failed = append(failed, err)
	}
	return login{}, errors.Join(failed...)
}

// create asks for a token at one of the places of a connection string: whoever
// answers at another need not know it.
func (t *tokens) create(ctx context.Context, peer int, at site) (login, error) {
	o := t.peers.dialOptions(pushTimeout)
	o.Configure = at.narrow
	rows, err := replication.Query(ctx, t.peers.all()[peer], createToken, o)
	switch {
	case err != nil:
		return login{}, fmt.Errorf("safekeeper %s: %w", t.peers.address(peer), err)
	case len(rows) != 1 || rows[0]["user_name"] == "" || rows[0]["password"] == "":
		return login{}, fmt.Errorf("safekeeper %s: CREATE TOKEN answered without a token", t.peers.address(peer))
	}
	return login{User: rows[0]["user_name"], Password: rows[0]["password"], Site: at}, nil
}

// lacksTokens says whether an error is the answer to an unknown command: ours,
// PostgreSQL's, or that of Neon's safekeeper, for which it is an internal error as
// any other. A failure of a safekeeper that has tokens is none: it would have the
// worker get the password for the rest of the term.
func lacksTokens(e *pgconn.PgError) bool {
	return e.Code == protocol.CodeFeatureNotSupported || e.Code == protocol.CodeSyntaxError ||
		e.Code == protocol.CodeInternalError && strings.HasPrefix(e.Message, "unsupported command")
}

// site is one of the hosts that a connection string may name.
type site struct {
	Host string `json:"host"`
	Port uint16 `json:"port"`
}

// sitesOf are those of a connection string, in its order.
func sitesOf(c *pgconn.Config) []site {
	out := []site{{c.Host, c.Port}}
	for _, f := range c.Fallbacks {
		if at := (site{f.Host, f.Port}); !slices.Contains(out, at) {
			out = append(out, at)
		}
	}
	return out
}

// narrow leaves one place of a connection string, with all the ways (TLS, plain)
// to connect to it.
func (at site) narrow(c *pgconn.Config) error {
	ways := append([]*pgconn.FallbackConfig{{Host: c.Host, Port: c.Port, TLSConfig: c.TLSConfig}}, c.Fallbacks...)
	ways = slices.DeleteFunc(ways, func(f *pgconn.FallbackConfig) bool { return site{f.Host, f.Port} != at })
	if len(ways) == 0 {
		return fmt.Errorf("the connection string does not name %s:%d", at.Host, at.Port)
	}
	c.Host, c.Port, c.TLSConfig, c.Fallbacks = ways[0].Host, ways[0].Port, ways[0].TLSConfig, ways[1:]
	return nil
}

// configured is what the operator's connection string and its surroundings say.
func (t *tokens) configured(peer int) (login, error) {
	c, err := pgconn.ParseConfig(t.peers.all()[peer])
	if err != nil {
		return login{}, err
	}
	return login{User: c.User, Password: c.Password}, nil
}

// answer is login for a worker at the other end of a pair.
func (t *tokens) answer(ctx context.Context, request []byte) []byte {
	var peer int
	l, err := login{}, json.Unmarshal(request, &peer)
	switch {
	case err != nil:
	case peer < 0 || peer >= len(t.peers.all()):
		err = fmt.Errorf("safekeeper %d of %d", peer, len(t.peers.all()))
	default:
		l, err = t.login(ctx, peer)
	}
	if err != nil {
		l = login{Error: err.Error()}
	}
	body, err := json.Marshal(l)
	if err != nil || len(body) > pairPart {
		return []byte(`{"error":"the answer cannot be sent"}`)
	}
	return body
}

// dialOptions are those of one connection to a safekeeper: a login is good for
// one.
func (p *pushing) dialOptions(ctx context.Context, peer int) (replication.DialOptions, error) {
	o := p.peers.dialOptions(pushTimeout)
	if p.logins == nil {
		return o, nil
	}
	l, err := p.logins.login(ctx, peer)
	if err != nil {
		return o, fmt.Errorf("get a login: %w", err)
	}
	o.Configure = func(c *pgconn.Config) error {
		c.User, c.Password = l.User, l.Password
		if l.Site == (site{}) {
			return nil
		}
		return l.Site.narrow(c)
	}
	return o, nil
}

// asked is the question of a worker that waits for its answer.
type asked struct {
	number uint32
	answer chan login
}

// login asks the tap.
func (r *remoteDirector) login(ctx context.Context, peer int) (login, error) {
	// The tap has to connect and to log in, which it does not try for longer.
	ctx, cancel := context.WithTimeoutCause(ctx, 2*pushTimeout, errors.New("the tap does not answer"))
	defer cancel()
	r.mu.Lock()
	r.asked = asked{number: r.asked.number + 1, answer: make(chan login, 1)}
	question := r.asked
	r.mu.Unlock()
	body, err := json.Marshal(peer)
	if err != nil {
		return login{}, err
	}
	if err := r.pair.send(pairMessage{kind: pairAsk, conn: question.number, body: body}); err != nil {
		return login{}, err
	}
	select {
	case l := <-question.answer:
		if l.Error != "" {
			return login{}, errors.New(l.Error)
		}
		return l, nil
	case <-ctx.Done():
		return login{}, context.Cause(ctx)
	}
}

// answered takes the tap's answer to the newest question. The caller holds mu.
func (r *remoteDirector) answered(m *pairMessage) error {
	if m.conn != r.asked.number || r.asked.answer == nil {
		return nil // nobody waits for it any more
	}
	var l login
	if err := json.Unmarshal(m.body, &l); err != nil {
		return fmt.Errorf("read login: %w", err)
	}
	r.asked.answer <- l
	r.asked.answer = nil
	return nil
}
