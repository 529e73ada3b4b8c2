package main

import (
	"context"
	"encoding/json"
	"os"
	"time"

	"github.com/walhaven/walhaven/operator"
)

type tokenCmd struct {
	Dir        string        `help:"Folder of the cluster." type:"path"`
	Safekeeper int           `help:"ID of the safekeeper that it is for (default: the first that answers)." xor:"node"`
	Pageserver int           `help:"ID of the pageserver that it is for." xor:"node"`
	ExpiresIn  time.Duration `help:"How long it can be used; an hour at most." default:"1m"`
	Output     string        `short:"o" help:"text (a connection string) or json." enum:"text,json" default:"text"`
}

// Run prints a login that opens one connection.
func (t *tokenCmd) Run(ctx context.Context, c *cli) error {
	cluster, err := c.cluster(t.Dir)
	if err != nil {
		return err
	}
	token, err := cluster.CreateToken(ctx, operator.TokenOptions{Safekeeper: t.Safekeeper, Pageserver: t.Pageserver, ExpiresIn: t.ExpiresIn})
	if err != nil {
		return err
	}
	if t.Output == "json" {
		return json.NewEncoder(os.Stdout).Encode(token)
	}
	return token.WriteText(os.Stdout)
}
