package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// TokenOptions say what a one-time token is for. Without IDs it is for the first
// safekeeper that answers.
type TokenOptions struct {
	Safekeeper, Pageserver int           // node IDs
	ExpiresIn              time.Duration // unless it is used; the server bounds it
}

// Token opens one connection to the cluster's timeline on one node.
type Token struct {
	Address  string    `json:"address"`
	User     string    `json:"user_name"`
	Password string    `json:"password"`
	Expires  time.Time `json:"expires_at"`
	Conninfo string    `json:"conninfo"` // all of it, for libpq
}

// CreateToken asks a node for a login that is good once.
func (c *Cluster) CreateToken(ctx context.Context, o TokenOptions) (*Token, error) {
	var nodes []Node
	switch {
	case o.Pageserver != 0:
		nodes = nodesOf(c.Pageservers, o.Pageserver)
	case o.Safekeeper != 0:
		nodes = nodesOf(c.Safekeepers, o.Safekeeper)
	default:
		nodes = c.Safekeepers
	}
	err := errors.New("the cluster file names no such node")
	for _, n := range nodes {
		var t *Token
		if t, err = c.createToken(ctx, n.PG, o.ExpiresIn); err == nil {
			return t, nil
		}
	}
	return nil, err
}

func nodesOf(all []Node, id int) []Node {
	for _, n := range all {
		if n.ID == id {
			return []Node{n}
		}
	}
	return nil
}

func (c *Cluster) createToken(ctx context.Context, address string, expiresIn time.Duration) (*Token, error) {
	rows, err := c.query(ctx, address, fmt.Sprintf("CREATE TOKEN (expires_in '%d')", int64(expiresIn/time.Second)), nil)
	if err != nil {
		return nil, err
	}
	if len(rows) != 1 {
		return nil, fmt.Errorf("CREATE TOKEN: expected one row, got %d", len(rows))
	}
	t := &Token{Address: address, User: rows[0]["user_name"], Password: rows[0]["password"]}
	if t.Expires, err = time.Parse(time.RFC3339, rows[0]["expires_at"]); err != nil {
		return nil, fmt.Errorf("CREATE TOKEN: %w", err)
	}
	t.Conninfo, err = c.conninfoAs(address, t.User, t.Password)
	return t, err
}

// WriteText prints the connection string, for use as psql "$(walhaven token)".
func (t *Token) WriteText(w io.Writer) error {
	_, err := fmt.Fprintln(w, t.Conninfo)
	return err
}
