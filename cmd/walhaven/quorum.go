package main

import (
	"context"

	"github.com/walhaven/walhaven/operator"
)

// quorumFlags name a cluster where its safekeepers are all that is needed.
type quorumFlags struct {
	Safekeepers []string `placeholder:"HOST:PORT,..." help:"All safekeepers, in place of a cluster file; users and passwords come from PGUSER, PGPASSFILE and so on."`
	Timeline    string   `placeholder:"NAME|ID" help:"With --safekeepers: which timeline, where they keep several."`
}

// reach returns the cluster meant: of the safekeepers named, else c's of dir.
func (q *quorumFlags) reach(ctx context.Context, c *cli, dir string) (*operator.Cluster, error) {
	if len(q.Safekeepers) == 0 {
		return c.cluster(dir)
	}
	return operator.Reach(ctx, q.Safekeepers, q.Timeline)
}
