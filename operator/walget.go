package operator

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/walhaven/walhaven/internal/durablefile"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/walproposer"
)

// Errors of WALGet, which restore_command's exit code tells apart.
var (
	// ErrPastEnd: the quorum does not have the file, since it lies past the end
	// of WAL. For PostgreSQL that is the ordinary end of archive recovery.
	ErrPastEnd = errors.New("past the end of the quorum's WAL")
	// ErrNoQuorum: too few safekeepers answered to know where WAL ends.
	ErrNoQuorum = errors.New("no quorum of safekeepers answered")
)

// takeoverAfter is the silence after which a writer counts as gone.
const takeoverAfter = 5 * time.Second

// WALGet fetches the file that restore_command asks for by name (%f) into path
// (%p). The open segment is served padded with zeros behind the last committed
// byte. Without a quorum it tries again until ctx ends. path is only ever seen
// complete.
func (c *Cluster) WALGet(ctx context.Context, name, path string) error {
	content, err := c.walFile(ctx, name)
	if err != nil {
		return fmt.Errorf("get %s: %w", name, err)
	}
	return durablefile.Replace(path, content, 0o600)
}

// walFile returns the content of a segment or history file.
func (c *Cluster) walFile(ctx context.Context, name string) ([]byte, error) {
	view, err := c.awaitQuorum(ctx)
	if err != nil {
		return nil, err
	}
	if text, ok := strings.CutSuffix(name, ".history"); ok {
		return c.historyFile(ctx, view, text)
	}
	tli, no, err := view.size.ParseFileName(filepath.Base(name))
	if err != nil {
		// Backup labels and partial files are never in the quorum's WAL.
		return nil, fmt.Errorf("%w: %w", err, ErrPastEnd)
	}
	want := wal.Range{Start: view.size.Start(no), End: view.size.Start(no + 1)}
	if view.commit < want.End {
		if view, err = c.latest(ctx, view); err != nil {
			return nil, err
		}
	}
	want.End = min(want.End, view.commit)
	if want.End <= want.Start {
		return nil, fmt.Errorf("committed WAL ends at %s: %w", view.commit, ErrPastEnd)
	}
	content := make([]byte, view.size)
	return content, c.fetch(ctx, view, tli, want, content)
}

// quorumView is what a majority of the safekeepers said at one moment.
type quorumView struct {
	size    wal.SegmentSize
	commit  wal.LSN       // the highest commit position among them
	flush   wal.LSN       // the highest flush position among them
	settled bool          // all of them end there, so nothing can be committed beyond
	silence time.Duration // since any of them heard a writer; negative: never
	nodes   []nodeView

	members pushwal.Configuration // as the safekeepers know them; none: founded implicitly
	asked   int                   // how many addresses there are
}

type nodeView struct {
	Node
	status replication.Status
	err    error
}

// look asks all safekeepers and needs a majority of the members. One that hangs is not
// waited for when there is one. Where those of the cluster file are too few any more, the
// members that they name are asked as well: the file may be a copy that is older than
// they are.
func (c *Cluster) look(ctx context.Context) (quorumView, error) {
	v, answers, err := c.lookAt(ctx, c.Safekeepers)
	if !errors.Is(err, ErrNoQuorum) {
		return v, err
	}
	more := c.unlisted(answers)
	if len(more) == 0 {
		return v, err
	}
	v, _, err = c.lookAt(ctx, slices.Concat(c.Safekeepers, more))
	return v, err
}

func (c *Cluster) lookAt(ctx context.Context, at []Node) (quorumView, []replication.Answer, error) {
	view := func(answers []replication.Answer) (quorumView, error) {
		nodes := make([]nodeView, len(answers))
		for i, a := range answers {
			nodes[i] = nodeView{Node: at[i], status: a.Status, err: a.Err}
		}
		return viewOf(nodes)
	}
	answers := replication.Ask(ctx, len(at), func(ctx context.Context, i int) (replication.Status, error) {
		return c.timelineStatus(ctx, at[i])
	}, func(answers []replication.Answer) bool {
		_, err := view(answers)
		return err == nil
	})
	v, err := view(answers)
	return v, answers, err
}

// unlisted are the members of the newest membership that any answer names at addresses
// which the cluster file does not have.
func (c *Cluster) unlisted(answers []replication.Answer) (more []Node) {
	var newest pushwal.Configuration
	for _, a := range answers {
		if a.Err == nil && a.Configuration.Generation > newest.Generation {
			newest = a.Configuration
		}
	}
	listed := c.safekeeperAddresses()
	for _, m := range newest.All() {
		if address := addressOf(m); !slices.Contains(listed, address) {
			listed = append(listed, address)
			more = append(more, Node{ID: int(m.ID), PG: address})
		}
	}
	return more
}

// viewOf is what the answers of members amount to. A node that joins, or that
// was founded anew after it had lost its disk, says nothing about the end of WAL.
func viewOf(answers []nodeView) (quorumView, error) {
	v := quorumView{settled: true, silence: -1}
	var failures []error
	var answered []nodeView
	var looks []consensus.Look
	for _, a := range answers {
		if a.err == nil && a.status.Joining {
			a.err = errors.New("it is joining and holds only a part")
		}
		if a.err != nil {
			failures = append(failures, fmt.Errorf("safekeeper %d: %w", a.ID, a.err))
			continue
		}
		answered = append(answered, a)
		looks = append(looks, consensus.Look{
			Node: a.status.NodeID, Incarnation: a.status.Incarnation, Config: a.status.Configuration,
		})
	}
	members, counts, err := consensus.Believe(looks)
	v.members, v.asked = members, len(answers)
	if err != nil {
		return v, errors.Join(ErrNoQuorum, err)
	}
	for i, a := range answered {
		switch {
		case !counts[i]:
			failures = append(failures, fmt.Errorf("safekeeper %d: it is not the member that the others know", a.ID))
			continue
		case slices.ContainsFunc(v.nodes, func(n nodeView) bool { return n.status.NodeID == a.status.NodeID }):
			failures = append(failures, fmt.Errorf("safekeeper %d: node %d answers at another address, too", a.ID, a.status.NodeID))
			continue
		}
		v.add(a)
	}
	if !v.isMajority(v.nodes) {
		return v, errors.Join(append([]error{ErrNoQuorum}, failures...)...)
	}
	for _, n := range v.nodes {
		if n.status.FlushLSN != v.commit || n.status.CommitLSN != v.commit {
			v.settled = false
		}
	}
	return v, nil
}

func (v *quorumView) add(a nodeView) {
	v.nodes = append(v.nodes, a)
	v.size = a.status.SegmentSize
	v.commit = max(v.commit, a.status.CommitLSN)
	v.flush = max(v.flush, a.status.FlushLSN)
	if age := a.status.WriterAge; age >= 0 && (v.silence < 0 || age < v.silence) {
		v.silence = age
	}
}

// isMajority says whether most of the members, as the safekeepers know them, are among
// some of the nodes that answered: a list of addresses is no quorum, unless there is
// nothing else.
func (v quorumView) isMajority(nodes []nodeView) bool {
	if len(v.members.Members) == 0 {
		return len(nodes) > v.asked/2
	}
	return v.members.Majority(func(m pushwal.Member) bool {
		return slices.ContainsFunc(nodes, func(n nodeView) bool { return n.status.NodeID == m.ID })
	})
}

// awaitQuorum looks until a majority answers or ctx ends.
func (c *Cluster) awaitQuorum(ctx context.Context) (v quorumView, err error) {
	var last error
	err = poll(ctx, time.Second, func() (bool, error) {
		v, last = c.look(ctx)
		return last == nil, nil
	})
	if err != nil {
		return v, errors.Join(last, err)
	}
	return v, nil
}

// latest makes sure that the commit position covers every commit that was
// acknowledged before the call: whatever that was, some member of any majority
// has it flushed. A writer that is alive commits up to there; after the death of
// one the safekeepers may hold acknowledged WAL that none of them knows to be
// committed, and a headless proposer settles it.
func (c *Cluster) latest(ctx context.Context, v quorumView) (quorumView, error) {
	target, progress := v.flush, time.Now()
	for {
		switch {
		case v.settled || v.commit >= target:
			return v, nil
		case v.silence < 0 || v.silence >= takeoverAfter || time.Since(progress) >= takeoverAfter:
			return c.settle(ctx)
		}
		timer := time.NewTimer(time.Second / 2)
		select {
		case <-ctx.Done():
			timer.Stop()
			return v, fmt.Errorf("wait for the writer: %w", ctx.Err())
		case <-timer.C:
		}
		before := v.commit
		var err error
		if v, err = c.awaitQuorum(ctx); err != nil {
			return v, err
		}
		if v.commit > before {
			progress = time.Now()
		}
	}
}

// settle has a headless proposer commit what the quorum holds. A writer that is
// alive after all takes the next term.
func (c *Cluster) settle(ctx context.Context) (quorumView, error) {
	conninfos, err := c.safekeeperConninfos()
	if err != nil {
		return quorumView{}, err
	}
	end, err := walproposer.Sync(ctx, walproposer.SyncOptions{
		Safekeepers: conninfos, Tenant: c.Tenant, Timeline: c.Timeline,
	})
	if err != nil {
		return quorumView{}, fmt.Errorf("settle the end of WAL: %w", err)
	}
	v, err := c.awaitQuorum(ctx)
	v.commit = max(v.commit, end)
	return v, err
}

// historyFile returns tli's history file from whoever has it. A history is
// served once a byte of it is committed, so it is missing only when a majority
// says so after the end of WAL was settled.
func (c *Cluster) historyFile(ctx context.Context, v quorumView, tli string) ([]byte, error) {
	id, err := strconv.ParseUint(tli, 16, 32)
	if err != nil || len(tli) != 8 {
		return nil, fmt.Errorf("%q is not a timeline: %w", tli, ErrPastEnd)
	}
	content, err := c.askHistory(ctx, v, id)
	if !errors.Is(err, ErrPastEnd) || v.settled {
		return content, err
	}
	if v, err = c.latest(ctx, v); err != nil {
		return nil, err
	}
	return c.askHistory(ctx, v, id)
}

func (c *Cluster) askHistory(ctx context.Context, v quorumView, id uint64) ([]byte, error) {
	var failures []error
	for _, n := range v.nodes {
		rows, err := c.query(ctx, n.PG, fmt.Sprintf("TIMELINE_HISTORY %d", id), physical)
		switch {
		case err == nil && len(rows) == 1 && rows[0]["content"] != "":
			return []byte(rows[0]["content"]), nil
		case !isUndefinedFile(err):
			failures = append(failures, fmt.Errorf("safekeeper %d: %w", n.ID, err))
		}
	}
	if len(failures) > 0 {
		return nil, errors.Join(failures...)
	}
	return nil, fmt.Errorf("no safekeeper has the history of timeline %d: %w", id, ErrPastEnd)
}
