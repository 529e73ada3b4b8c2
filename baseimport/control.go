package baseimport

import (
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/walhaven/walhaven/internal/pgdata"
	"github.com/walhaven/walhaven/wal"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// parseControl reads pg_control of a server whose files are cut as ours are named.
func parseControl(b []byte) (*pgdata.Control, error) {
	c, err := pgdata.ParseControl(b)
	switch {
	case errors.Is(err, pgdata.ErrControlChecksum):
		return nil, fmt.Errorf("%w; take the backup again", err)
	case err != nil:
		return nil, err
	case c.BlockSize != wal.BlockSize || c.RelSegBlocks != relSegBlocks:
		return nil, errors.New("the server was built with other block or segment sizes than the default ones")
	}
	return &c, nil
}
