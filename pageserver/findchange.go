package pageserver

import (
	"context"
	"errors"
	"slices"

	"github.com/walhaven/walhaven/ingest"
	"github.com/walhaven/walhaven/pageread"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// relkinds (src/include/catalog/pg_class.h) that FIND tells apart.
const (
	kindTable       = 'r'
	kindPartitioned = 'p'
	kindForeign     = 'f'
)

// change is a commit that changed what the catalogs say of some relations of a
// database, and the catalogs before and after it.
type change struct {
	f             *finding
	e             *ingest.Event
	rels          []walrecord.RelFile // database and OID; sorted
	before, after *pageread.Catalog
}

func (f *finding) change(ctx context.Context, e *ingest.Event, rels []walrecord.RelFile) (*change, error) {
	c := &change{f: f, e: e, rels: rels}
	var err error
	if c.before, err = f.catalog(ctx, rels[0].Database, e.LSN-1); err != nil {
		return nil, err
	}
	c.after, err = f.catalog(ctx, rels[0].Database, e.LSN)
	return c, err
}

// has says whether the commit changed what the catalogs say of a relation.
func (c *change) has(oid uint32) bool {
	_, found := slices.BinarySearchFunc(c.rels, oid, func(rel walrecord.RelFile, oid uint32) int {
		return int(int64(rel.Relation) - int64(oid))
	})
	return found
}

// dropped reports the relations that were there before the commit and are not
// after it.
func (c *change) dropped(ctx context.Context) error {
	for _, rel := range c.rels {
		if c.f.left <= 0 {
			return nil
		}
		was, ok, err := c.before.Class(ctx, rel.Relation)
		if err != nil {
			return err
		}
		if !ok || was.Temporary {
			continue
		}
		if _, ok, err = c.after.Class(ctx, rel.Relation); err != nil {
			return err
		}
		if ok {
			continue
		}
		if err := c.f.relation(ctx, c.e, c.before, &was); err != nil {
			return err
		}
	}
	return nil
}

// truncated reports the tables that were emptied, and the partitioned ones of
// which every partition was.
func (c *change) truncated(ctx context.Context) error {
	emptied := map[uint32]bool{}
	for _, rel := range c.rels {
		yes, err := c.emptied(ctx, rel.Relation)
		if err != nil {
			return err
		}
		if yes {
			emptied[rel.Relation] = true
		}
	}
	for _, rel := range c.rels {
		if !emptied[rel.Relation] {
			continue
		}
		if err := c.addParents(ctx, rel.Relation, emptied, 0); err != nil {
			return err
		}
	}
	oids := make([]uint32, 0, len(emptied))
	for oid, yes := range emptied {
		if yes {
			oids = append(oids, oid)
		}
	}
	slices.Sort(oids)
	for _, oid := range oids {
		if c.f.left <= 0 {
			return nil
		}
		was, ok, err := c.before.Class(ctx, oid)
		if err == nil && ok {
			err = c.f.relation(ctx, c.e, c.before, &was)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// emptied says whether a table was truncated. Then it has a new file, which is
// not one that a rewrite made: CLUSTER, VACUUM FULL and ALTER TABLE fill another
// relation, whose OID is its relfilenumber, and give its file to the table. A
// move to another tablespace has a new file, too.
func (c *change) emptied(ctx context.Context, oid uint32) (bool, error) {
	was, ok, err := c.before.Class(ctx, oid)
	if err != nil || !ok || was.Kind != kindTable || was.Temporary {
		return false, err
	}
	is, ok, err := c.after.Class(ctx, oid)
	if err != nil || !ok || is.File == was.File || c.has(is.File.Relation) {
		return false, err
	}
	if is.File.Tablespace == was.File.Tablespace {
		return true, nil
	}
	at, err := c.f.reader.Exactly(ctx, c.e.LSN-1)
	if err != nil {
		return false, err
	}
	had, err := c.f.blocks(ctx, was.File, at)
	if err != nil || had == 0 {
		return false, err
	}
	if at, err = c.f.reader.Exactly(ctx, c.e.LSN); err != nil {
		return false, err
	}
	has, err := c.f.blocks(ctx, is.File, at)
	return has == 0, err
}

// maxInheritance is how many levels of partitions are followed.
const maxInheritance = 32

// addParents adds the partitioned tables that a truncated table is a partition of,
// if all of them was truncated: nothing in WAL says which of the names was typed.
func (c *change) addParents(ctx context.Context, oid uint32, emptied map[uint32]bool, depth int) error {
	parents, err := c.before.Parents(ctx, oid)
	if err != nil || depth > maxInheritance {
		return err
	}
	for _, parent := range parents {
		if _, known := emptied[parent]; known {
			continue
		}
		class, ok, err := c.before.Class(ctx, parent)
		if err != nil {
			return err
		}
		if !ok || class.Kind != kindPartitioned {
			continue
		}
		if emptied[parent], err = c.whole(ctx, parent, emptied, depth); err != nil {
			return err
		}
		if !emptied[parent] {
			continue
		}
		if err := c.addParents(ctx, parent, emptied, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// whole says whether all partitions of a table were truncated. Of foreign ones
// nothing is known here.
func (c *change) whole(ctx context.Context, oid uint32, emptied map[uint32]bool, depth int) (bool, error) {
	children, err := c.before.Children(ctx, oid)
	if err != nil || depth > maxInheritance {
		return false, err
	}
	for _, child := range children {
		if emptied[child] {
			continue
		}
		class, ok, err := c.before.Class(ctx, child)
		if err != nil {
			return false, err
		}
		switch {
		case !ok || class.Kind == kindForeign:
		case class.Kind != kindPartitioned:
			return false, nil
		default:
			if all, err := c.whole(ctx, child, emptied, depth+1); err != nil || !all {
				return false, err
			}
		}
	}
	return true, nil
}

// mayBeTruncate says of a cut whether it may be that of TRUNCATE: it leaves
// nothing, and it belongs to a transaction.
func mayBeTruncate(e *ingest.Event) bool { return e.Blocks == 0 && e.XID != 0 }

// truncatedAsNew reports a table that was truncated in the transaction that made
// it, for then its file is cut in place. Nobody else ever saw what was in it, and
// there is no LSN to go back to. A file that the catalog knew before was cut by vacuum, and a table that it knew
// with another file is reported for its new one.
func (f *finding) truncatedAsNew(ctx context.Context, e *ingest.Event) error {
	then, err := f.catalog(ctx, e.Rels[0].Database, e.LSN-1)
	if err != nil {
		return err
	}
	if _, known, err := then.ClassOf(ctx, e.Rels[0]); err != nil || known {
		return err
	}
	commit, err := f.reader.CommitAfter(ctx, e.XID, e.LSN)
	switch {
	case errors.Is(err, pageread.ErrAborted), errors.Is(err, pageread.ErrNoTransaction):
		return nil
	case err != nil:
		return err
	}
	after, err := f.catalog(ctx, e.Rels[0].Database, commit)
	if err != nil {
		return err
	}
	class, ok, err := after.ClassOf(ctx, e.Rels[0])
	if err != nil || !ok || class.Kind != kindTable {
		return err
	}
	before, err := f.catalog(ctx, e.Rels[0].Database, commit-1)
	if err != nil {
		return err
	}
	if _, existed, err := before.Class(ctx, class.OID); err != nil || existed {
		return err
	}
	return f.relation(ctx, e, after, &class)
}
