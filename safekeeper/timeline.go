package safekeeper

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walstore"
)

// timeline is one timeline that this safekeeper serves: its store, its
// acceptor, and what is attached to them.
type timeline struct {
	id        wal.TTID
	dir       string
	store     *walstore.Store
	accepting *replication.Accepting
	slots     *slotSet
	sessions  *sessionSet
	pushes    *pushSet
	gaps      *gapSet
	intervals *intervalSet
	peers     *peerTable
	logger    *slog.Logger
}

// openTimeline recovers the timeline in dir.
func openTimeline(dir string, d deps) (*timeline, error) {
	store, err := walstore.Open(dir, d.storeOptions())
	if err != nil {
		return nil, fmt.Errorf("open WAL store: %w", err)
	}
	t, err := assemble(dir, store, d)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return t, nil
}

// foundTimeline creates the timeline in dir, durably.
func foundTimeline(dir string, c walstore.Control, d deps) (*timeline, error) {
	store, err := walstore.Create(dir, c, d.storeOptions())
	if err != nil {
		return nil, fmt.Errorf("create WAL store: %w", err)
	}
	t, err := assemble(dir, store, d)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return t, nil
}

func assemble(dir string, store *walstore.Store, d deps) (*timeline, error) {
	c := store.Control()
	logger := d.logger.With("tenant_id", c.ID.Tenant, "timeline_id", c.ID.Timeline)
	loaded, err := loadSlots(vfs.Default, dir)
	if err != nil {
		return nil, err
	}
	gaps, err := loadGaps(vfs.Default, dir)
	if err != nil {
		return nil, err
	}
	intervals, err := loadIntervals(vfs.Default, dir)
	if err != nil {
		return nil, err
	}
	accepting, err := replication.NewAccepting(replication.AcceptingOptions{
		NodeID: pushwal.NodeID(d.identity.ID), Log: store, Logger: logger, Metrics: d.accepting,
	})
	if err != nil {
		return nil, fmt.Errorf("restore acceptor: %w", err)
	}
	if own := accepting.Status().Incarnation; own != pushwal.Incarnation(d.identity.Incarnation) {
		return nil, errors.Join(accepting.Close(errForeignDirectory), errForeignDirectory)
	}
	slots := newSlotSet(loaded, saveSlots(vfs.Default, dir))
	slots.removed(store.Oldest())
	return &timeline{
		id: c.ID, dir: dir, store: store, accepting: accepting, logger: logger,
		slots: slots, gaps: newGapSet(gaps, saveGaps(vfs.Default, dir)),
		intervals: &intervalSet{list: intervals, save: saveIntervals(vfs.Default, dir)},
		sessions:  newSessionSet(), pushes: newPushSet(d.pageservers), peers: newPeerTable(),
	}, nil
}

// errForeignDirectory says that the timeline's folder was copied from another
// node: its votes are that node's.
var errForeignDirectory = errors.New("the timeline's state belongs to another incarnation of a data directory")

// name is the timeline's name for people.
func (t *timeline) name() string { return t.store.Control().Name }

// close persists positions and closes the files. Sessions must have ended or
// are ended by it.
func (t *timeline) close(cause error) error {
	return errors.Join(t.accepting.Close(cause), t.slots.persist(), t.store.Close())
}
