package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
)

// Receipt says whether WAL up to an LSN is durable, and who holds it.
type Receipt struct {
	LSN       wal.LSN         `json:"lsn"`
	Durable   bool            `json:"durable"`
	Term      string          `json:"term,omitempty"` // of the proposer that wrote it
	CommitLSN wal.LSN         `json:"commit_lsn"`
	Members   []ReceiptMember `json:"members"`
}

// ReceiptMember is what one member says.
type ReceiptMember struct {
	NodeID    string `json:"node_id"`
	Address   string `json:"address"`
	Holds     bool   `json:"holds"`
	FlushLSN  string `json:"flush_lsn,omitempty"`
	FlushedAt string `json:"flushed_at,omitempty"` // RFC 3339; "" = before its start, or long ago
	Error     string `json:"error,omitempty"`
}

// waitHedge is how long one safekeeper may take to answer before the next is asked as
// well: it may hang, or be waiting for what another one knows already.
const waitHedge = time.Second

// WaitDurable waits for WAL up to at to be durable, for at most timeout, and
// returns the receipt whatever it says. Any safekeeper can be asked, since each
// asks a majority, and one that hangs is not waited for; without a majority the
// error is ErrNoQuorum.
func (c *Cluster) WaitDurable(ctx context.Context, at wal.LSN, timeout time.Duration) (*Receipt, error) {
	type answer struct {
		receipt *Receipt
		err     error
	}
	deadline := time.Now().Add(timeout)
	var asking sync.WaitGroup
	defer asking.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan answer, len(c.Safekeepers))
	next := time.NewTimer(0)
	defer next.Stop()
	failures := []error{ErrNoQuorum}
	for asked := 0; len(failures) <= len(c.Safekeepers); {
		select {
		case <-next.C:
			if asked == len(c.Safekeepers) {
				continue
			}
			n := c.Safekeepers[asked]
			asked++
			asking.Go(func() {
				r, err := c.receiptOf(ctx, n, at, deadline)
				answers <- answer{r, err}
			})
			next.Reset(waitHedge)
		case a := <-answers:
			if a.err == nil {
				return a.receipt, nil
			}
			failures = append(failures, a.err)
			next.Reset(0)
		}
	}
	return nil, errors.Join(failures...)
}

// waitAtOnce is how long a safekeeper is asked to wait at once; it takes ten minutes at
// the most.
const waitAtOnce = 5 * time.Minute

// receiptOf asks one safekeeper until the position is durable, or the deadline has
// passed.
func (c *Cluster) receiptOf(ctx context.Context, n Node, at wal.LSN, deadline time.Time) (*Receipt, error) {
	conninfo, err := c.conninfo(n.PG)
	if err != nil {
		return nil, err
	}
	for {
		left := max(0, time.Until(deadline))
		wait := min(left, waitAtOnce)
		rows, err := replication.Query(ctx, conninfo, fmt.Sprintf("WAIT FOR LSN '%s' TIMEOUT '%dms'", at, wait.Milliseconds()),
			replication.DialOptions{Timeout: wait + 2*probeTimeout})
		if err != nil {
			return nil, fmt.Errorf("safekeeper %d: %w", n.ID, err)
		}
		if r, err := parseReceipt(rows); err != nil || r.Durable || wait == left {
			return r, err
		}
	}
}

func parseReceipt(rows []replication.Row) (r *Receipt, err error) {
	r = &Receipt{}
	for _, row := range rows {
		holds, herr := row.Bool("holds")
		r.Members = append(r.Members, ReceiptMember{
			NodeID: row["node_id"], Address: row["address"], Holds: holds, FlushLSN: row["flush_lsn"],
			FlushedAt: row["flushed_at"], Error: row["error"],
		})
		var errs [3]error
		r.LSN, errs[0] = row.LSN("lsn")
		r.CommitLSN, errs[1] = row.LSN("commit_lsn")
		r.Durable, errs[2] = row.Bool("durable")
		r.Term = row["term"]
		if err := errors.Join(herr, errors.Join(errs[:]...)); err != nil {
			return nil, fmt.Errorf("read receipt: %w", err)
		}
	}
	if len(rows) == 0 {
		return nil, errors.New("read receipt: it is empty")
	}
	return r, nil
}

// WriteTable writes the receipt for people.
func (r *Receipt) WriteTable(w io.Writer) error {
	word := "NOT DURABLE"
	if r.Durable {
		word = "DURABLE"
	}
	head := fmt.Sprintf("%s: %s, committed up to %s", word, r.LSN, r.CommitLSN)
	if r.Term != "" {
		head += ", written in term " + r.Term
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, head)
	fmt.Fprintln(table, "safekeeper\taddress\tholds it\tsince, at the latest\tflushed up to\terror")
	for _, m := range r.Members {
		holds := "no"
		if m.Holds {
			holds = "yes"
		}
		fmt.Fprintln(table, strings.TrimRight(strings.Join([]string{m.NodeID, m.Address, holds, m.FlushedAt, m.FlushLSN, m.Error}, "\t"), "\t"))
	}
	return table.Flush()
}
