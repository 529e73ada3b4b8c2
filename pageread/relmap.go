package pageread

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pagestore"
)

const sharedTablespace = 1664

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

// mapOf reads the map of a database, 0 for that of the shared catalogs.
func (r *Reader) mapOf(ctx context.Context, db uint32, at At) (m relMap, err error) {
	space := uint32(defaultTablespace)
	if db == 0 {
		space = sharedTablespace
	}
	var v pagestore.Value
	err = r.o.Timeline.Get(ctx, pagekey.RelMap(space, db), at.LSN, &v)
	switch {
	case err == nil:
		return relMap{space: space, db: db, content: v.Image}, nil
	case !errors.Is(err, pagestore.ErrNotFound):
		return m, r.storeError(at.LSN, err)
	}
	found := false // It is in another tablespace.
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
