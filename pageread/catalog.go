package pageread

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// OIDs of catalogs and their indexes, and places in their rows
// (src/include/catalog). Most begin with oid and a name of 64 bytes.
const (
	oidDatabase  = 1262
	oidClass     = 1259
	oidNamespace = 2615
	oidInherits  = 2611

	rowOID  = 0
	rowName = 4
	nameLen = 64

	classNamespace   = 68
	classFileNode    = 88
	classTablespace  = 92
	classPersistence = 114 // this and what follows 4 more from 18 on, for relallfrozen
	classKind        = 115
	classMost        = 124

	inheritsChild  = 0
	inheritsParent = 4
	inheritsMost   = 8
)

// catalogIndex is a catalog and one of its indexes.
type catalogIndex struct {
	table, index uint32
	columns      []int // places in a row of the index's first columns
}

var (
	databaseByOID    = catalogIndex{oidDatabase, 2672, []int{rowOID}}
	classByOID       = catalogIndex{oidClass, 2662, []int{rowOID}}
	classByFile      = catalogIndex{oidClass, 3455, []int{classTablespace, classFileNode}}
	namespaceByOID   = catalogIndex{oidNamespace, 2685, []int{rowOID}}
	inheritsByChild  = catalogIndex{oidInherits, 2680, []int{inheritsChild}}
	inheritsByParent = catalogIndex{oidInherits, 2187, []int{inheritsParent}}
)

// Class is a row of pg_class.
type Class struct {
	OID       uint32
	Namespace uint32 // OID of its schema
	Name      string
	Kind      byte              // relkind
	Temporary bool              // of one session: nothing of it is in WAL
	File      walrecord.RelFile // Relation 0 without storage
}

// Catalog is what a database's catalogs say at a position: what transactions had
// committed there. It is for one goroutine.
type Catalog struct {
	r      *Reader
	at     At
	own    relMap
	shared relMap
	extra  int // bytes of pg_class's rows before persistence and kind that 14 has not

	// Of catalogs without a place in a map, schemas and the database, once known.
	files   map[uint32]walrecord.RelFile
	schemas map[uint32]string
	name    string
}

// Catalog returns the catalogs of a database, 0 for the shared ones alone;
// ErrNoDatabase when there is none.
func (r *Reader) Catalog(ctx context.Context, db uint32, at At) (*Catalog, error) {
	c := &Catalog{r: r, at: at, files: map[uint32]walrecord.RelFile{}, schemas: map[uint32]string{}}
	var err error
	if c.shared, err = r.mapOf(ctx, 0, at); err != nil {
		return nil, err
	}
	if c.own, err = r.mapOf(ctx, db, at); err != nil {
		return nil, err
	}
	c.extra, err = r.classExtra(ctx, at)
	return c, err
}

// classExtra is by how much rows of pg_class are longer, by the version of the
// control file.
func (r *Reader) classExtra(ctx context.Context, at At) (int, error) {
	var v pagestore.Value
	if err := r.o.Timeline.Get(ctx, pagekey.ControlFile(), at.LSN, &v); err != nil {
		return 0, r.storeError(at.LSN, err)
	}
	const versionAt, version18 = 8, 1800
	if len(v.Image) >= versionAt+4 && binary.LittleEndian.Uint32(v.Image[versionAt:]) >= version18 {
		return 4, nil
	}
	return 0, nil
}

// DatabaseName is the database's own name; ErrNoDatabase when it has none.
func (c *Catalog) DatabaseName(ctx context.Context) (name string, err error) {
	if c.name != "" {
		return c.name, nil
	}
	found := false
	err = c.rows(ctx, &databaseByOID, []uint32{c.own.db}, func(row []byte) (bool, error) {
		if len(row) >= rowName+nameLen {
			name, found = nameOf(row), true
		}
		return !found, nil
	})
	if err == nil && !found {
		err = fmt.Errorf("%w: %d at %s", ErrNoDatabase, c.own.db, c.at.LSN)
	}
	if err == nil {
		c.name = name
	}
	return name, err
}

func nameOf(row []byte) string {
	name, _, _ := bytes.Cut(row[rowName:rowName+nameLen], []byte{0})
	return string(name)
}

// Class looks a relation up by its OID; ok is false when there is none.
func (c *Catalog) Class(ctx context.Context, oid uint32) (class Class, ok bool, err error) {
	return c.class(ctx, &classByOID, oid)
}

// ClassOf looks a relation up by its files. Mapped catalogs are not found by it.
func (c *Catalog) ClassOf(ctx context.Context, file walrecord.RelFile) (class Class, ok bool, err error) {
	space := file.Tablespace
	if space == c.own.space {
		space = 0 // As for all in the database's own tablespace.
	}
	return c.class(ctx, &classByFile, space, file.Relation)
}

func (c *Catalog) class(ctx context.Context, by *catalogIndex, key ...uint32) (class Class, ok bool, err error) {
	err = c.rows(ctx, by, key, func(row []byte) (bool, error) {
		if len(row) < classMost {
			return true, nil
		}
		var err error
		class, err = c.parseClass(row)
		ok = err == nil
		return false, err
	})
	return class, ok, err
}

// parseClass reads a row of pg_class. Mapped catalogs have no relfilenumber in it.
func (c *Catalog) parseClass(row []byte) (class Class, err error) {
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(row[at:]) }
	class = Class{
		OID: u32(rowOID), Name: nameOf(row), Namespace: u32(classNamespace),
		Kind: row[classKind+c.extra], Temporary: row[classPersistence+c.extra] == 't',
	}
	class.File = walrecord.RelFile{Tablespace: u32(classTablespace), Database: c.own.db, Relation: u32(classFileNode)}
	mapped := &c.own
	switch class.File.Tablespace {
	case 0:
		class.File.Tablespace = c.own.space
	case sharedTablespace:
		class.File.Database, mapped = 0, &c.shared
	}
	if class.File.Relation == 0 {
		class.File.Relation, err = mapped.lookup(class.OID)
	}
	return class, err
}

// Schema is the name of a schema, empty when there is none.
func (c *Catalog) Schema(ctx context.Context, oid uint32) (name string, err error) {
	if name, ok := c.schemas[oid]; ok {
		return name, nil
	}
	err = c.rows(ctx, &namespaceByOID, []uint32{oid}, func(row []byte) (bool, error) {
		if len(row) >= rowName+nameLen {
			name = nameOf(row)
		}
		return name == "", nil
	})
	if err == nil {
		c.schemas[oid] = name
	}
	return name, err
}

// Parents are the OIDs of what a table is a partition or heir of.
func (c *Catalog) Parents(ctx context.Context, oid uint32) ([]uint32, error) {
	return c.inherits(ctx, &inheritsByChild, oid, inheritsParent)
}

// Children are the OIDs of a table's partitions and heirs, without theirs.
func (c *Catalog) Children(ctx context.Context, oid uint32) ([]uint32, error) {
	return c.inherits(ctx, &inheritsByParent, oid, inheritsChild)
}

func (c *Catalog) inherits(ctx context.Context, by *catalogIndex, oid uint32, wanted int) (oids []uint32, err error) {
	err = c.rows(ctx, by, []uint32{oid}, func(row []byte) (bool, error) {
		if len(row) >= inheritsMost {
			oids = append(oids, binary.LittleEndian.Uint32(row[wanted:]))
		}
		return true, nil
	})
	return oids, err
}

// file is where a catalog or an index of one lies.
func (c *Catalog) file(ctx context.Context, oid uint32) (walrecord.RelFile, error) {
	for _, m := range []*relMap{&c.own, &c.shared} {
		n, err := m.lookup(oid)
		if err != nil || n != 0 {
			return walrecord.RelFile{Tablespace: m.space, Database: m.db, Relation: n}, err
		}
	}
	if oid == oidClass || oid == classByOID.index {
		return walrecord.RelFile{}, errRelMap
	}
	if file, ok := c.files[oid]; ok {
		return file, nil
	}
	class, ok, err := c.Class(ctx, oid)
	if err == nil && !ok {
		err = fmt.Errorf("%w: catalog %d of database %d at %s", ErrNoRelation, oid, c.own.db, c.at.LSN)
	}
	if err == nil {
		c.files[oid] = class.File
	}
	return class.File, err
}

// rows calls f with the rows of a key until it returns false, by the index, or
// by all rows if that cannot be read.
func (c *Catalog) rows(ctx context.Context, by *catalogIndex, key []uint32, f func(row []byte) (bool, error)) error {
	table, err := c.file(ctx, by.table)
	if err != nil {
		return err
	}
	index, err := c.file(ctx, by.index)
	if err != nil {
		return err
	}
	tids, err := c.r.lookup(ctx, index, c.at, key)
	if errors.Is(err, errIndex) {
		return c.r.tuples(ctx, table, c.at, func(row []byte) (bool, error) {
			if !by.matches(row, key) {
				return true, nil
			}
			return f(row)
		})
	}
	if err != nil {
		return err
	}
	for _, t := range tids {
		row, err := c.r.tuple(ctx, table, t, c.at)
		if err != nil {
			return err
		}
		if row == nil || !by.matches(row, key) {
			continue
		}
		if more, err := f(row); err != nil || !more {
			return err
		}
	}
	return nil
}

// matches says whether a row has the key.
func (x *catalogIndex) matches(row []byte, key []uint32) bool {
	for i, at := range x.columns {
		if len(row) < at+4 || binary.LittleEndian.Uint32(row[at:]) != key[i] {
			return false
		}
	}
	return true
}
