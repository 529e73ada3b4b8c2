package replication

import (
	"context"

	"github.com/walhaven/walhaven/wal"
)

// Row is one row of an answer, by column name. A column that is NULL is absent.
type Row map[string]string

// LSN returns a column that holds a WAL position.
func (r Row) LSN(column string) (wal.LSN, error) { panic("todo") }

// Uint returns a column that holds a number.
func (r Row) Uint(column string) (uint64, error) { panic("todo") }

// Bool returns a column that holds t or f.
func (r Row) Bool(column string) (bool, error) { panic("todo") }

// Query connects, runs one statement by the simple protocol, and closes.
func Query(ctx context.Context, conninfo, sql string, o DialOptions) ([]Row, error) { panic("todo") }
