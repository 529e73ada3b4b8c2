package operator

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/receiver"
	"github.com/walhaven/walhaven/wal"
)

// fetch reads the committed bytes of want from whichever safekeeper has them
// into the front of content.
func (c *Cluster) fetch(ctx context.Context, v quorumView, tli wal.TLI, want wal.Range, content []byte) error {
	var failures []error
	for _, n := range v.nodes {
		if n.status.CommitLSN < want.End {
			continue
		}
		err := c.fetchFrom(ctx, n.Node, tli, want, content[:want.Len()])
		if err == nil {
			return nil
		}
		failures = append(failures, fmt.Errorf("safekeeper %d: %w", n.ID, err))
		if errors.Is(err, errOtherTimeline) {
			return fmt.Errorf("%w: %w", ErrPastEnd, err)
		}
	}
	if len(failures) == 0 {
		return fmt.Errorf("no safekeeper that answers has committed WAL up to %s: %w", want.End, ErrNoQuorum)
	}
	return errors.Join(failures...)
}

// errOtherTimeline says that the WAL asked for is not on the timeline asked for.
var errOtherTimeline = errors.New("not on this timeline")

func (c *Cluster) fetchFrom(ctx context.Context, n Node, tli wal.TLI, want wal.Range, into []byte) error {
	conninfo, err := c.conninfo(n.PG)
	if err != nil {
		return err
	}
	client, err := replication.Connect(ctx, conninfo, replication.DialOptions{Params: physical})
	if err != nil {
		return err
	}
	defer client.Close() //nolint:errcheck // What was wanted is here, or another error is.
	stream, err := receiver.Start(ctx, client, want.Start, receiver.Options{TLI: tli})
	if err != nil {
		return classify(err)
	}
	defer stream.Close() //nolint:errcheck // As above.
	for len(into) > 0 {
		_, data, err := stream.Next()
		if err != nil {
			return classify(err)
		}
		into = into[copy(into, data):]
	}
	return nil
}

// physical asks for a replication connection.
var physical = map[string]string{"replication": "true"}

// classify marks the answers that say for certain that the WAL is not on the
// timeline. Any other error must not end a recovery early.
func classify(err error) error {
	var end *receiver.EndOfTimeline
	if errors.As(err, &end) || strings.Contains(err.Error(), "is not in this server's history") {
		return fmt.Errorf("%w: %w", errOtherTimeline, err)
	}
	return err
}

// isUndefinedFile says that the server has no such file, or answered without
// one.
func isUndefinedFile(err error) bool {
	return err == nil || protocol.SQLState(err) == protocol.CodeUndefinedFile
}
