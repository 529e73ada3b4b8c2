package walproposer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/walhaven/walhaven/internal/pause"
	"github.com/walhaven/walhaven/internal/pgdata"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/consensus"
	"github.com/walhaven/walhaven/wal"
)

// Action is how a stopped data directory may be started.
type Action string

// Actions that Check answers; anything else it refuses.
const (
	StartPrimary Action = "primary" // it holds everything that the quorum holds
	StartStandby Action = "standby" // it is behind, and can follow the safekeepers
)

// CheckOptions name a stopped data directory and the quorum that holds its WAL.
type CheckOptions struct {
	DataDir            string
	Slot               string   // of the walproposer; "" = walhaven
	Safekeepers        []string // connection strings or host:port
	SafekeeperUser     string
	SafekeeperPassword string
	Tenant             wal.TenantID // zero: the directory's system identifier
	Timeline           string       // ID or name; "" = main
	// TakeoverAfter is how long every walproposer must have been silent before a
	// primary may start; 5 s when zero. Takeover does not wait for that.
	TakeoverAfter time.Duration
	Takeover      bool
	Logger        *slog.Logger // nil: nothing is logged
}

// Verdict is what Check found.
type Verdict struct {
	Action Action
	Reason string
	Own    wal.LSN // where the directory's WAL ends
	Quorum wal.LSN // where the quorum's does
	// Timeline is the one that was compared with.
	Timeline wal.TTID
	// Prepared says that the directory is a standby's already.
	Prepared bool
}

// check is one call of Check.
type check struct {
	o        CheckOptions
	dir      *pgdata.Directory
	marked   bool // its server ran without fsync, and nothing was lost since
	peers    *peers
	timeline wal.TimelineID
}

// Check reads a stopped data directory, compares it with the quorum without
// touching any term, and says how it may be started. A *Refusal says that it must
// not be, naming the position and the way out; other errors, such as one without
// a quorum, say that nothing is known. It tries until ctx ends.
func Check(ctx context.Context, o CheckOptions) (*Verdict, error) {
	c, err := newCheck(o)
	if err != nil {
		return nil, err
	}
	if err := c.checkMarker(); err != nil {
		return nil, err
	}
	if c.dir.Recovery {
		return nil, refuse("%s is about to be recovered from an archive (recovery.signal), which ends on a new timeline", o.DataDir).
			hint("Recover it without this check, and found a new walhaven timeline for it.")
	}
	if err := c.resolve(ctx); err != nil {
		return nil, err
	}
	v, err := c.look(ctx)
	if err != nil {
		return nil, err
	}
	return c.judge(ctx, v)
}

// resolve finds the timeline.
func (c *check) resolve(ctx context.Context) error {
	tenant := c.o.Tenant
	if tenant.IsZero() {
		tenant = c.dir.SystemID.TenantID()
	}
	var err error
	if c.peers, err = newPeers(c.o.Safekeepers, c.o.SafekeeperUser, c.o.SafekeeperPassword, tenant, c.o.Timeline); err != nil {
		return err
	}
	return c.insist(ctx, func() (err error) {
		c.timeline, err = c.peers.resolve(ctx)
		if err == nil {
			c.peers.timeline = c.timeline.String()
		}
		return err
	})
}

// insist tries until it works, is refused, or ctx ends.
func (c *check) insist(ctx context.Context, try func() error) error {
	for {
		err := try()
		if err == nil {
			return nil
		}
		if r := judge(err); r != nil {
			return r
		}
		if perr := pause.For(ctx, lookEvery); perr != nil {
			return errors.Join(err, perr)
		}
	}
}

// look asks the quorum. The directory's own timeline history is judged apart from
// it, since one that is behind may well be on an older timeline.
func (c *check) look(ctx context.Context) (v view, err error) {
	evaluate := func(all []replication.Answer) (consensus.Survey, error) {
		return consensus.Evaluate(consensus.ProposerConfig{
			ID: wal.TTID{Tenant: c.peers.tenant, Timeline: c.timeline}, Peers: len(all), Headless: true,
			SystemID: c.dir.SystemID, PGVersion: uint32(c.dir.Major) * 10000, SegmentSize: c.dir.SegmentSize,
		}, looksOf(all))
	}
	err = c.insist(ctx, func() error {
		v = view{all: c.peers.statuses(ctx, func(all []replication.Answer) bool {
			s, err := evaluate(all)
			return err == nil && s.Quorum
		})}
		var err error
		if v.Survey, err = evaluate(v.all); err != nil {
			return err
		}
		if v.Quorum {
			return nil
		}
		// The list may be older than the membership: then the next look is at that one.
		if changed, err := c.peers.follow(v.all); changed || err != nil {
			c.o.Logger.Warn(notTheMembers, "safekeepers", c.peers.addresses())
			return errors.Join(errNoQuorum, err)
		}
		return tooFew(c.peers, v.all)
	})
	return v, err
}

// judge compares the directory with what the quorum has.
func (c *check) judge(ctx context.Context, v view) (*Verdict, error) {
	d, end := c.dir, v.Proof.Upto
	if err := c.checkWhole(end); err != nil {
		return nil, err
	}
	agree := consensus.AgreeUpto(d.History, v.Proof.TLIHistory)
	if d.End > agree && end > agree {
		return nil, refuse("this directory's timeline %d parts at %s from the quorum's timeline %d: it has WAL up to %s, the quorum up to %s",
			d.TLI, agree, v.Proof.TLIHistory.Last, d.End, end).
			detail("What it has behind %s was never acknowledged by the quorum in force.", agree).hint(hintRebuild)
	}
	if err := c.compare(ctx, v, min(d.End, end, agree)); err != nil {
		return nil, err
	}
	if err := c.checkUnsynced(end); err != nil {
		return nil, err
	}
	out := &Verdict{Own: d.End, Quorum: end, Timeline: wal.TTID{Tenant: c.peers.tenant, Timeline: c.timeline}, Prepared: d.Standby}
	switch {
	case d.End < end || d.BackupStart != 0 || d.Standby:
		out.Action, out.Reason = StartStandby, fmt.Sprintf("its WAL ends at %s, the quorum's at %s", d.End, end)
		if d.End >= end {
			out.Reason = "it is a standby's, or a base backup's: " + out.Reason
		}
		return out, c.canFollow(v)
	default:
		out.Action, out.Reason = StartPrimary, fmt.Sprintf("it holds all WAL of the quorum, up to %s, and its own up to %s", end, d.End)
	}
	// Two primaries with the same WAL are a primary and its clone.
	now, err := c.silence(ctx, v)
	if err != nil || now.Proof.Upto == end {
		return out, err
	}
	return c.judge(ctx, now)
}

// checkWhole refuses a directory whose pages may come from WAL that is neither in
// it nor known to be the quorum's.
func (c *check) checkWhole(end wal.LSN) error {
	d := c.dir
	switch {
	case d.Confirmed > end:
		return refuse("the safekeepers hold WAL up to %s only, but had confirmed %s to this server", end, d.Confirmed).
			detail("A quorum has lost data, or these are not the safekeepers that this server wrote to.").
			hint("Bring back the safekeepers that hold it.")
	case d.BackupStart == 0 && d.Checkpoint >= d.End && d.Checkpoint > d.Confirmed:
		return refuse("WAL from %s on is missing in this directory, which was written behind it up to the checkpoint at %s", d.End, d.Checkpoint).
			detail("Nothing shows that these pages are the quorum's.").hint(hintRebuild)
	}
	return nil
}

// compare compares every byte from what the quorum had confirmed to this
// directory on.
func (c *check) compare(ctx context.Context, v view, upto wal.LSN) error {
	r := c.comparable(v, upto)
	if r.Start >= r.End {
		return nil
	}
	own, err := c.digests(r)
	if err != nil {
		return err
	}
	theirs, err := c.peers.digests(ctx, v.Proof.Donor, r)
	if err != nil {
		return err
	}
	if len(theirs) != len(own) {
		return fmt.Errorf("safekeeper %s: %d digests of %s, want %d", c.peers.address(v.Proof.Donor), len(theirs), r, len(own))
	}
	for i := range own {
		if own[i] != theirs[i] {
			return refuse("this directory's WAL is another history than the quorum's: the bytes in %s differ from safekeeper %d's", own[i].Range, v.Proof.DonorNode).
				detail("Compared from %s to %s. A copy of a data directory was started, or these are the safekeepers of another one.", r.Start, r.End).
				hint(hintRebuild)
		}
	}
	c.o.Logger.Info("compared", "from", r.Start, "upto", r.End, "donor", uint64(v.Proof.DonorNode))
	return nil
}

// digests are the directory's, cut as WAL_DIGEST cuts.
func (c *check) digests(r wal.Range) (out []digest, err error) {
	buf := make([]byte, digestSize)
	for at := r.Start; at < r.End; {
		end := min(at&^(digestSize-1)+digestSize, r.End)
		h := sha256.New()
		d := digest{Range: wal.Range{Start: at, End: end}}
		for at < end {
			n, err := c.dir.ReadAt(buf[:end-at], at)
			if err != nil {
				return nil, err
			}
			if n == 0 {
				return nil, fmt.Errorf("read WAL at %s: its file went", at)
			}
			h.Write(buf[:n])
			at += wal.LSN(n)
		}
		h.Sum(d.sum[:0])
		out = append(out, d)
	}
	return out, nil
}
