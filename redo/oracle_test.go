package redo

import (
	"bytes"
	"fmt"
	"io"
	"sort"
	"strings"
	"text/tabwriter"

	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// oracle is the property that proves redo: on WAL of a server with
// wal_consistency_checking=all, every block's page after a record equals the
// image that the record carries, outside what may differ.
type oracle struct {
	opt       Options
	apply     applyFunc // Apply, or a broken one
	raw       []byte    // of the record, for samples
	pages     map[pageKey]*page.Page
	vm        []VisibilityClear
	early     []earlyClear
	managers  map[pageKey]walrecord.RmgrID // that changed the page
	earlySeen int
	blind     bool             // compare nothing
	clears    int              // bits taken off maps that records did not reference
	deaf      bool             // forget those changes
	holed     map[pageKey]bool // map pages that were restored without their map
	kinds     map[string]*kindCount
	// failures is what differed, the first few in words.
	failed   int
	failures []string
	records  int
}

type applyFunc func(*page.Page, *walrecord.Record, int, Options) error

type pageKey struct {
	rel   walrecord.RelFile
	fork  walrecord.Fork
	block uint32
}

// kindCount is what an oracle saw of one kind of record.
type kindCount struct {
	records, applied int // records; blocks applied
	compared         int // blocks compared with an image
	restored         int // blocks restored from an image
	unknown          int // blocks whose page before the record is not known
	failed           int
}

func newOracle(o Options) *oracle {
	return &oracle{opt: o, apply: Apply, pages: map[pageKey]*page.Page{}, managers: map[pageKey]walrecord.RmgrID{}, holed: map[pageKey]bool{}, kinds: map[string]*kindCount{}}
}

func kindOf(r *walrecord.Record) string { return r.RMID.String() + "/" + walrecord.Identify(r) }

func (k *oracle) record(r *walrecord.Record) {
	kind := k.kind(r)
	for i := range r.Blocks {
		k.block(r, i, kind)
	}
	k.vm = AppendVisibilityClears(k.vm[:0], r)
	for _, c := range k.vm {
		k.clear(c)
	}
	k.checkEarly()
	if r.RMID == walrecord.RmgrStorage {
		k.truncate(r)
	}
}

// kind counts the record.
func (k *oracle) kind(r *walrecord.Record) *kindCount {
	k.records++
	kind := k.kinds[kindOf(r)]
	if kind == nil {
		kind = &kindCount{}
		k.kinds[kindOf(r)] = kind
	}
	kind.records++
	return kind
}

// block applies one block of a record and compares.
func (k *oracle) block(r *walrecord.Record, i int, kind *kindCount) {
	b := &r.Blocks[i]
	key := pageKey{b.Rel, b.Fork, b.Block}
	p := k.pages[key]
	if p == nil {
		p = new(page.Page)
		k.pages[key] = p
	}
	if p.IsNew() && !b.WillInit && b.Fork != walrecord.ForkVM && !(b.HasImage && b.Image.Apply) {
		kind.unknown++
		if b.HasImage && RestoreImage(p, &b.Image) == nil {
			p.SetLSN(r.End)
		}
		return
	}
	before := *p
	if err := k.apply(p, r, i, k.opt); err != nil {
		*p = before
		k.fail(kind, r, b, err.Error())
		return
	}
	if r.RMID != walrecord.RmgrXLOG {
		k.managers[key] = r.RMID
	}
	kind.applied++
	switch {
	case !b.HasImage:
	case b.Image.Apply:
		kind.restored++
		k.holed[key] = b.Fork == walrecord.ForkVM && b.Image.HoleLength > 0
	case !k.blind:
		kind.compared++
		k.compare(r, b, p, kind)
	}
}

func (k *oracle) compare(r *walrecord.Record, b *walrecord.Block, p *page.Page, kind *kindCount) {
	want := new(page.Page)
	if err := RestoreImage(want, &b.Image); err != nil {
		k.fail(kind, r, b, err.Error())
		return
	}
	if p.LSN() != r.End && !k.mayKeepLSN(r, b) {
		k.fail(kind, r, b, fmt.Sprintf("pd_lsn is %s, not the record's end %s", p.LSN(), r.End))
	}
	for _, strict := range []bool{false, true} {
		ours, theirs := *p, *want
		mask := MaskFor(r, b)
		mask(&ours, b.Block, strict)
		mask(&theirs, b.Block, strict)
		if ours != theirs && !k.lostMap(b, p, want) && !k.clearedEarly(r, b, &ours, &theirs) {
			k.fail(kind, r, b, fmt.Sprintf("strict=%v: %s", strict, difference(&ours, &theirs)))
			*p = *want // So that later records are judged for themselves.
			p.SetLSN(r.End)
			return
		}
	}
}

// mayKeepLSN names the blocks that a record does not stamp: a map page whose
// bits were as they should be, the heap page beside it where hints are not logged, and those that a hash index only locks, among them
// the page that a squeeze moved nothing to.
func (k *oracle) mayKeepLSN(r *walrecord.Record, b *walrecord.Block) bool {
	return b.Fork == walrecord.ForkVM ||
		r.RMID == walrecord.RmgrHeap2 && r.Info&0x70 == opVisible && k.opt == (Options{}) ||
		b.ID == 0 && r.RMID == walrecord.RmgrHash && (r.Op() == 0x70 || r.Op() == 0x80 || r.Op() == 0x90) ||
		b.ID == 1 && r.RMID == walrecord.RmgrHash && r.Op() == 0x80
}

func difference(ours, theirs *page.Page) string {
	var b strings.Builder
	n := 0
	for i := range ours {
		if ours[i] != theirs[i] {
			if n < 12 {
				fmt.Fprintf(&b, "%d: %02x want %02x; ", i, ours[i], theirs[i])
			}
			n++
		}
	}
	fmt.Fprintf(&b, "%d bytes; lower %d/%d upper %d/%d special %d/%d flags %x/%x", n, ours.Lower(), theirs.Lower(),
		ours.Upper(), theirs.Upper(), ours.Special(), theirs.Special(), ours.Flags(), theirs.Flags())
	return b.String()
}

func (k *oracle) fail(kind *kindCount, r *walrecord.Record, b *walrecord.Block, what string) {
	kind.failed++
	k.failed++
	if kind.failed <= 3 {
		k.failures = append(k.failures, fmt.Sprintf("%s at %s info %02x block %d (%s %s %d) main %x data %.80x: %s", kindOf(r), r.Start, r.Info,
			b.ID, b.Rel, b.Fork, b.Block, r.MainData[:min(len(r.MainData), 40)], b.Data, what))
	}
}

// truncate forgets what Storage/TRUNCATE cuts off.
func (k *oracle) truncate(r *walrecord.Record) {
	if r.Op() != 0x20 {
		return
	}
	m := walrecord.NewCursor(r.MainData)
	length := m.U32()
	rel := walrecord.RelFile{Tablespace: m.U32(), Database: m.U32(), Relation: m.U32()}
	flags := m.U32()
	mapBlock := page.MapBlock(length)
	for key, p := range k.pages {
		switch {
		case key.rel != rel:
		case key.fork == walrecord.ForkMain && flags&1 != 0 && key.block >= length,
			key.fork == walrecord.ForkVM && flags&2 != 0 && key.block > mapBlock,
			key.fork == walrecord.ForkFSM:
			delete(k.pages, key)
		case key.fork == walrecord.ForkVM && flags&2 != 0 && key.block == mapBlock:
			p.TruncateMap(length)
		}
	}
}

// write prints what was reached, a line a kind.
func (k *oracle) write(w io.Writer) {
	names := make([]string, 0, len(k.kinds))
	for name := range k.kinds {
		names = append(names, name)
	}
	sort.Strings(names)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "kind\trecords\tblocks\tcompared\trestored\tunknown\tfailed\t")
	for _, name := range names {
		c := k.kinds[name]
		fmt.Fprintf(tw, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t\n", name, c.records, c.applied, c.compared, c.restored, c.unknown, c.failed)
	}
	_ = tw.Flush() // To memory.
}

// compared is how many blocks were compared with an image.
func (k *oracle) compared() int {
	n := 0
	for _, c := range k.kinds {
		n += c.compared
	}
	return n
}

func (k *oracle) table() string {
	var b bytes.Buffer
	k.write(&b)
	return b.String()
}
