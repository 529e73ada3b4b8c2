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

// OIDs of catalogs and places in their rows (src/include/catalog), which begin
// with oid and a name of 64 bytes.
const (
	oidDatabase  = 1262
	oidClass     = 1259
	oidNamespace = 2615

	rowOID  = 0
	rowName = 4
	nameLen = 64

	classNamespace  = 68
	classFileNode   = 88
	classTablespace = 92
	classKind       = 115 // 4 more from 18 on, for relallfrozen
	classMost       = 124

	sharedTablespace = 1664
)

// Class is a row of pg_class.
type Class struct {
	OID    uint32
	Schema string
	Name   string
	Kind   byte              // relkind
	File   walrecord.RelFile // Relation 0 without storage

	namespace uint32
}

// errRelMap says that a relation map is not one.
var errRelMap = errors.New("relation map is damaged")

// relMap is a relation map (RelMapFile): where mapped catalogs lie.
type relMap struct {
	space, db uint32
	content   []byte
}

const (
	relMapMagic  = 0x592717
	relMapHeader = 8 // magic, number of entries of 8 bytes: OID, relfilenumber
)

// lookup returns the relfilenumber of a mapped catalog, 0 if oid is none.
func (m *relMap) lookup(oid uint32) (uint32, error) {
	b := m.content
	if len(b) < relMapHeader || binary.LittleEndian.Uint32(b) != relMapMagic {
		return 0, errRelMap
	}
	count := binary.LittleEndian.Uint32(b[4:])
	for b = b[relMapHeader:]; count > 0 && len(b) >= 8; count, b = count-1, b[8:] {
		if binary.LittleEndian.Uint32(b) == oid {
			return binary.LittleEndian.Uint32(b[4:]), nil
		}
	}
	return 0, nil
}

func (m *relMap) file(oid uint32) (walrecord.RelFile, error) {
	n, err := m.lookup(oid)
	if err == nil && n == 0 {
		err = errRelMap
	}
	return walrecord.RelFile{Tablespace: m.space, Database: m.db, Relation: n}, err
}

// relMapOf finds the map of a database, 0 for that of the shared catalogs.
func (r *Reader) relMapOf(ctx context.Context, db uint32, at At) (m relMap, err error) {
	found := false
	err = r.o.Timeline.Scan(ctx, pagekey.RelMaps(), at.LSN, pagestore.ScanOptions{}, func(key pagestore.Key, v *pagestore.Value) (bool, error) {
		ref, err := pagekey.Parse(key)
		if err != nil {
			return false, err
		}
		if ref.Rel.Database == db {
			m, found = relMap{space: ref.Rel.Tablespace, db: db, content: bytes.Clone(v.Image)}, true
		}
		return !found, nil
	})
	switch {
	case err != nil:
		return m, r.storeError(at.LSN, err)
	case !found:
		return m, fmt.Errorf("%w: database %d at %s", ErrNoDatabase, db, at.LSN)
	}
	return m, nil
}

// DatabaseName is a database's name in the committed catalog at a position;
// ErrNoDatabase when there is none.
func (r *Reader) DatabaseName(ctx context.Context, db uint32, at At) (name string, err error) {
	shared, err := r.relMapOf(ctx, 0, at)
	if err != nil {
		return "", err
	}
	file, err := shared.file(oidDatabase)
	if err != nil {
		return "", err
	}
	found := false
	err = r.tuples(ctx, file, at, func(row []byte) error {
		if len(row) >= rowName+nameLen && binary.LittleEndian.Uint32(row[rowOID:]) == db {
			name, found = nameOf(row), true
		}
		return nil
	})
	if err == nil && !found {
		err = fmt.Errorf("%w: %d at %s", ErrNoDatabase, db, at.LSN)
	}
	return name, err
}

func nameOf(row []byte) string {
	name, _, _ := bytes.Cut(row[rowName:rowName+nameLen], []byte{0})
	return string(name)
}

// Classes returns the rows of a database's pg_class that want asks for, as
// committed at a position. want sees them without their schema.
func (r *Reader) Classes(ctx context.Context, db uint32, at At, want func(*Class) bool) (classes []Class, err error) {
	own, err := r.relMapOf(ctx, db, at)
	if err != nil {
		return nil, err
	}
	file, err := own.file(oidClass)
	if err != nil {
		return nil, err
	}
	kindAt, err := r.classKindAt(ctx, at)
	if err != nil {
		return nil, err
	}
	var namespaces walrecord.RelFile
	err = r.tuples(ctx, file, at, func(row []byte) error {
		if len(row) < classMost {
			return nil
		}
		c, err := own.class(row, kindAt)
		if err != nil {
			return err
		}
		if c.OID == oidNamespace {
			namespaces = c.File
		}
		if want(&c) {
			classes = append(classes, c)
		}
		return nil
	})
	if err != nil || len(classes) == 0 {
		return nil, err
	}
	return classes, r.addSchemas(ctx, namespaces, at, classes)
}

// class reads a row. Mapped catalogs have no relfilenumber in it.
func (m *relMap) class(row []byte, kindAt int) (c Class, err error) {
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(row[at:]) }
	c = Class{OID: u32(rowOID), Name: nameOf(row), Kind: row[kindAt], namespace: u32(classNamespace)}
	c.File = walrecord.RelFile{Tablespace: u32(classTablespace), Database: m.db, Relation: u32(classFileNode)}
	switch c.File.Tablespace {
	case 0:
		c.File.Tablespace = m.space
	case sharedTablespace:
		c.File.Database = 0
	}
	if c.File.Relation == 0 && c.File.Tablespace == m.space {
		c.File.Relation, err = m.lookup(c.OID)
	}
	return c, err
}

// classKindAt is where relkind lies, by the version of the control file.
func (r *Reader) classKindAt(ctx context.Context, at At) (int, error) {
	var v pagestore.Value
	if err := r.o.Timeline.Get(ctx, pagekey.ControlFile(), at.LSN, &v); err != nil {
		return 0, r.storeError(at.LSN, err)
	}
	const versionAt, version18 = 8, 1800
	if len(v.Image) >= versionAt+4 && binary.LittleEndian.Uint32(v.Image[versionAt:]) >= version18 {
		return classKind + 4, nil
	}
	return classKind, nil
}

// addSchemas enters the names of the schemas.
func (r *Reader) addSchemas(ctx context.Context, namespaces walrecord.RelFile, at At, classes []Class) error {
	names := map[uint32]string{}
	err := r.tuples(ctx, namespaces, at, func(row []byte) error {
		if len(row) >= rowName+nameLen {
			names[binary.LittleEndian.Uint32(row[rowOID:])] = nameOf(row)
		}
		return nil
	})
	for i := range classes {
		classes[i].Schema = names[classes[i].namespace]
	}
	return err
}
