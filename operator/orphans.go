package operator

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	program "github.com/walhaven/walhaven/internal/daemon"
	"github.com/walhaven/walhaven/internal/pgdata"
	"github.com/walhaven/walhaven/replication/headless"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
	"github.com/walhaven/walhaven/walproposer"
)

// Orphans is what a stopped data directory holds that no quorum has: the answer of
// `walhaven orphans -o json`. Its field names are relied upon by programs: add,
// never rename.
type Orphans struct {
	PGData   string         `json:"pgdata"`
	SystemID string         `json:"system_identifier"`
	Tenant   wal.TenantID   `json:"tenant_id"`
	Timeline wal.TimelineID `json:"timeline_id"`
	TLI      wal.TLI        `json:"tli"`
	EndLSN   wal.LSN        `json:"end_lsn"` // of the directory

	QuorumTLI wal.TLI `json:"quorum_tli"`
	QuorumLSN wal.LSN `json:"quorum_lsn"` // where its WAL ends
	// ComparedLSN is where the comparison began, DivergesLSN the first position that
	// the quorum does not have like this.
	ComparedLSN wal.LSN `json:"compared_from_lsn"`
	DivergesLSN wal.LSN `json:"diverges_lsn"`
	// Superseded says that the quorum has other WAL there: what is here can never
	// become part of it.
	Superseded bool `json:"superseded"`
	// MissingUptoLSN is not 0 when the orphaned WAL itself is gone from the directory
	// up to there.
	MissingUptoLSN wal.LSN `json:"missing_upto_lsn,omitempty"`

	Bytes        uint64              `json:"bytes"`
	Records      int                 `json:"records"`
	Transactions []OrphanTransaction `json:"transactions"`
}

// OrphanTransaction is one with a record in the orphaned WAL.
type OrphanTransaction struct {
	XID uint32 `json:"xid"`
	// State is committed, aborted, prepared or open: what the WAL says, not that
	// anybody was told so.
	State   string    `json:"state"`
	Time    time.Time `json:"time,omitzero"` // of the commit or abort
	LSN     wal.LSN   `json:"lsn"`           // end of its last record
	Records int       `json:"records"`
	// Relations are the files that it changed, as tablespace/database/filenode.
	Relations []string `json:"relations"`
	Subxids   []uint32 `json:"subxids,omitempty"`
}

// Found says whether there is anything.
func (o *Orphans) Found() bool { return o.DivergesLSN < o.EndLSN }

// Orphans compares a stopped data directory with the quorum and reads the WAL that
// only it has. It changes nothing.
func (c *Cluster) Orphans(ctx context.Context, dataDir string) (*Orphans, error) {
	sync, err := c.syncOptions()
	if err != nil {
		return nil, err
	}
	d, err := walproposer.Diverge(ctx, walproposer.CheckOptions{
		DataDir: dataDir, Slot: c.slot(), Safekeepers: sync.Safekeepers, Tenant: c.Tenant, Timeline: c.Timeline.String(),
	})
	switch {
	case errors.Is(err, pgdata.ErrRunning):
		return nil, program.Explain(err, "", "Stop it first: a running server's WAL has no end.")
	case errors.Is(err, headless.ErrNoQuorum):
		return nil, program.WithExit(program.ExitQuorumLost, err)
	case err != nil:
		return nil, fmt.Errorf("compare %s with the quorum: %w", dataDir, err)
	}
	o := &Orphans{
		PGData: dataDir, SystemID: d.Dir.SystemID.String(), Tenant: d.Timeline.Tenant, Timeline: d.Timeline.Timeline,
		TLI: d.Dir.TLI, EndLSN: d.Dir.End, QuorumTLI: d.QuorumTLI, QuorumLSN: d.Quorum,
		ComparedLSN: d.Compared, DivergesLSN: d.At, Superseded: d.Superseded, Transactions: []OrphanTransaction{},
	}
	if !o.Found() {
		return o, nil
	}
	o.Bytes = uint64(o.EndLSN - o.DivergesLSN)
	if d.Dir.Oldest > o.DivergesLSN {
		o.MissingUptoLSN = d.Dir.Oldest
	}
	r := &orphanReader{from: o.DivergesLSN, record: walrecord.Record{Major: d.Dir.Major}, all: map[uint32]*orphan{}}
	if err := r.read(d.Dir); err != nil {
		return o, err
	}
	o.Records, o.Transactions = r.count, r.transactions()
	return o, nil
}

// orphanReader collects transactions from records.
type orphanReader struct {
	from   wal.LSN
	record walrecord.Record
	all    map[uint32]*orphan
	count  int
}

type orphan struct {
	OrphanTransaction
	relations map[walrecord.RelFile]struct{}
}

// read goes through the directory's WAL from where it parts. It begins at the start
// of that segment, the only page that is certain to be one.
func (r *orphanReader) read(d *pgdata.Directory) error {
	at := max(d.SegmentSize.SegmentStart(r.from), d.Oldest)
	scan := walrecord.NewReader(walrecord.ScannerOptions{
		Start: at, SegmentSize: d.SegmentSize, PGVersion: uint32(d.Major), SystemID: d.SystemID, TLI: 1, MaxTLI: d.TLI,
	}, r.take)
	buf := make([]byte, 1<<20)
	for at < d.End {
		n, err := d.ReadAt(buf, at)
		if err == nil && n == 0 {
			err = errors.New("its file went")
		}
		if err == nil {
			err = scan.Feed(at, buf[:n])
		}
		if err != nil {
			return fmt.Errorf("read orphaned WAL at %s: %w", at, err)
		}
		at += wal.LSN(n)
	}
	return nil
}

// transactions lists what was read, in the order of WAL.
func (r *orphanReader) transactions() []OrphanTransaction {
	out := []OrphanTransaction{}
	for _, t := range r.all {
		t.Relations = []string{}
		for rel := range t.relations {
			t.Relations = append(t.Relations, rel.String())
		}
		slices.Sort(t.Relations)
		out = append(out, t.OrphanTransaction)
	}
	slices.SortFunc(out, func(a, b OrphanTransaction) int {
		return cmp.Or(cmp.Compare(a.LSN, b.LSN), cmp.Compare(a.XID, b.XID))
	})
	return out
}

// take is one record; those in front of the divergence are the quorum's, too.
func (r *orphanReader) take(start, end wal.LSN, rec []byte) error {
	if end <= r.from {
		return nil
	}
	if err := walrecord.Decode(rec, start, end, &r.record); err != nil {
		return err
	}
	r.count++
	if r.record.XID == 0 && len(r.record.Blocks) > 0 {
		return nil // Pruning and hints: nobody's.
	}
	x, ends, err := walrecord.ParseTransactionEnd(&r.record)
	if err != nil {
		return err
	}
	if ends {
		r.end(&x)
		return nil
	}
	if xid, prepares, err := walrecord.ParsePrepare(&r.record); prepares || err != nil {
		if err == nil {
			r.note(xid).State = "prepared"
		}
		return err
	}
	if r.record.XID == 0 {
		return nil
	}
	t := r.note(r.record.XID)
	for i := range r.record.Blocks {
		t.relations[r.record.Blocks[i].Rel] = struct{}{}
	}
	return nil
}

// note counts a record of a transaction.
func (r *orphanReader) note(xid uint32) *orphan {
	if r.record.HasTopXID && r.record.TopXID != 0 {
		xid = r.record.TopXID
	}
	t := r.all[xid]
	if t == nil {
		t = &orphan{OrphanTransaction: OrphanTransaction{XID: xid, State: "open", Relations: []string{}}, relations: map[walrecord.RelFile]struct{}{}}
		r.all[xid] = t
	}
	t.Records++
	t.LSN = r.record.End
	return t
}

// end closes a transaction, and takes over what its subtransactions did: only here
// they say whose they are.
func (r *orphanReader) end(x *walrecord.TransactionEnd) {
	r.record.HasTopXID = false
	t := r.note(x.XID)
	t.State, t.Time = "aborted", x.Time.Time()
	if x.Committed {
		t.State = "committed"
	}
	for b := x.Subxids; len(b) >= 4; b = b[4:] {
		sub := binary.LittleEndian.Uint32(b)
		t.Subxids = append(t.Subxids, sub)
		if s := r.all[sub]; s != nil {
			t.Records += s.Records
			for rel := range s.relations {
				t.relations[rel] = struct{}{}
			}
			delete(r.all, sub)
		}
	}
}

// summary says in a line what was found.
func (o *Orphans) summary() string {
	switch {
	case !o.Found():
		return fmt.Sprintf("Nothing: every byte of this directory's WAL, up to %s, is on the quorum, which has %s.", o.EndLSN, o.QuorumLSN)
	case o.Superseded:
		return fmt.Sprintf("%d bytes in %d records from %s to %s are only here; the quorum went on without them to %s on timeline %d.",
			o.Bytes, o.Records, o.DivergesLSN, o.EndLSN, o.QuorumLSN, o.QuorumTLI)
	}
	return fmt.Sprintf("%d bytes in %d records from %s to %s are only here, and nobody has written behind %s: started as the primary, this server brings them to the quorum.",
		o.Bytes, o.Records, o.DivergesLSN, o.EndLSN, o.QuorumLSN)
}

// WriteTable writes the report for people.
func (o *Orphans) WriteTable(w io.Writer) error {
	fmt.Fprintln(w, o.summary())
	if o.MissingUptoLSN != 0 {
		fmt.Fprintf(w, "Of these, WAL up to %s is gone from the directory: transactions that ended there are not listed.\n", o.MissingUptoLSN)
	}
	if len(o.Transactions) == 0 {
		return nil
	}
	return writeTransactions(w, o.Transactions)
}
