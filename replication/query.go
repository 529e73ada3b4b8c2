package replication

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/walhaven/walhaven/wal"
)

// Row is one row of an answer, by column name. A column that is NULL is absent.
type Row map[string]string

// LSN returns a column that holds a WAL position.
func (r Row) LSN(column string) (wal.LSN, error) {
	p := rowParser{row: r}
	return p.lsn(column), p.err
}

// Uint returns a column that holds a number.
func (r Row) Uint(column string) (uint64, error) {
	p := rowParser{row: r}
	return p.uint(column, 64), p.err
}

// Bool returns a column that holds t or f.
func (r Row) Bool(column string) (bool, error) {
	p := rowParser{row: r}
	return p.bool(column), p.err
}

// Query connects, runs one statement by the simple protocol, and closes. All of
// it takes no longer than o.Timeout.
func Query(ctx context.Context, conninfo, sql string, o DialOptions) ([]Row, error) {
	ctx, cancel := context.WithTimeout(ctx, o.timeout())
	defer cancel()
	c, err := Connect(ctx, conninfo, o)
	if err != nil {
		return nil, err
	}
	defer c.Close() //nolint:errcheck // The answer is here already.
	return c.Query(ctx, sql)
}

// rowParser reads columns and keeps the first error.
type rowParser struct {
	row Row
	err error
}

func (p *rowParser) parse(column string, f func(string) error) {
	if p.err != nil {
		return
	}
	v, ok := p.row[column]
	if !ok {
		p.err = fmt.Errorf("column %s is missing", column)
		return
	}
	if err := f(v); err != nil {
		p.err = fmt.Errorf("column %s: %w", column, err)
	}
}

func (p *rowParser) lsn(column string) (l wal.LSN) {
	p.parse(column, func(v string) (err error) { l, err = wal.ParseLSN(v); return })
	return l
}

func (p *rowParser) uint(column string, bits int) (n uint64) {
	p.parse(column, func(v string) (err error) { n, err = strconv.ParseUint(v, 10, bits); return })
	return n
}

// age reads milliseconds, negative = never.
func (p *rowParser) age(column string) (d time.Duration) {
	p.parse(column, func(v string) error {
		ms, err := strconv.ParseInt(v, 10, 64)
		if d = -1; ms >= 0 {
			d = min(time.Duration(ms), longAgo) * time.Millisecond
		}
		return err
	})
	return d
}

// longAgo bounds ages that are read, in milliseconds, so that none overflows.
const longAgo = time.Duration(math.MaxInt64) / time.Millisecond

// newAge is age of a column that older programs do not have; absent is its value
// then.
func (p *rowParser) newAge(column string, absent time.Duration) time.Duration {
	if _, ok := p.row[column]; !ok {
		return absent
	}
	return p.age(column)
}

func (p *rowParser) bool(column string) (b bool) {
	p.parse(column, func(v string) error {
		if b = v == "t"; !b && v != "f" {
			return fmt.Errorf("%q is neither t nor f", v)
		}
		return nil
	})
	return b
}
