package oracle

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Kinds says under which mask the pages of a relation are compared.
type Kinds map[walrecord.RelFile]page.Mask

const kindsQuery = `SELECT CASE c.reltablespace WHEN 0 THEN d.dattablespace ELSE c.reltablespace END,
	CASE WHEN c.relisshared THEN 0 ELSE d.oid END, pg_relation_filenode(c.oid), c.relkind, coalesce(a.amname, '')
	FROM pg_class c JOIN pg_database d ON d.datname = current_database() LEFT JOIN pg_am a ON a.oid = c.relam
	WHERE pg_relation_filenode(c.oid) IS NOT NULL`

// Catalog asks a running server what its relations are, database by database.
func Catalog(t testing.TB, server *compute.Server) Kinds {
	t.Helper()
	ctx := context.Background()
	databases, err := server.Query(ctx, "SELECT datname FROM pg_database WHERE datallowconn")
	require.NoError(t, err)
	kinds := Kinds{}
	for _, db := range databases {
		rows, err := server.Psql(ctx, "-d", db[0], "-F", ",", "-c", kindsQuery)
		require.NoError(t, err)
		kinds.add(t, rows)
	}
	require.NotEmpty(t, kinds)
	return kinds
}

func (k Kinds) add(t testing.TB, rows string) {
	t.Helper()
	var rel walrecord.RelFile
	for line := range strings.Lines(rows) {
		fields := strings.Split(strings.TrimSpace(line), ",")
		require.Len(t, fields, 5, line)
		for i, p := range []*uint32{&rel.Tablespace, &rel.Database, &rel.Relation} {
			n, err := strconv.ParseUint(fields[i], 10, 32)
			require.NoError(t, err, line)
			*p = uint32(n)
		}
		k[rel] = maskOf(fields[3], fields[4])
	}
}

// maskOf is the mask of a relation by pg_class.relkind and its access method.
func maskOf(kind, am string) page.Mask {
	switch {
	case kind == "S":
		return page.MaskPlain
	case kind != "i":
		return page.MaskHeap
	}
	switch am {
	case "btree":
		return page.MaskBtree
	case "hash":
		return page.MaskHash
	case "gin":
		return page.MaskGin
	case "gist":
		return page.MaskGist
	case "spgist":
		return page.MaskSPGist
	case "brin":
		return page.MaskBRIN
	}
	panic(fmt.Sprintf("access method %q is unknown", am))
}
