package walrecord

import (
	"strconv"

	"github.com/walhaven/walhaven/wal"
)

// Describe returns r as one line in pg_waldump's form, without a line feed:
//
//	rmgr: Heap        len (rec/tot):     54/  8241, tx:        742, lsn: 0/01700060, prev 0/01700028, desc: INSERT, blkref #0: rel 1663/5/16384 blk 0 FPW
//
// Main data is shown for the few operations that operators look for (see
// appendDetail), and not at all for the rest.
func Describe(r *Record) string { return string(AppendDescription(nil, r)) }

// AppendDescription adds what Describe returns to dst.
func AppendDescription(dst []byte, r *Record) []byte {
	dst = append(dst, "rmgr: "...)
	dst = appendLeft(dst, RmgrName(r.RMID), 11)
	dst = append(dst, " len (rec/tot): "...)
	dst = appendRight(dst, uint64(r.Length-r.FPILength()), 6)
	dst = append(dst, '/')
	dst = appendRight(dst, uint64(r.Length), 6)
	dst = append(dst, ", tx: "...)
	dst = appendRight(dst, uint64(r.XID), 10)
	dst = append(dst, ", lsn: "...)
	dst = appendPaddedLSN(dst, r.Start)
	dst = append(dst, ", prev "...)
	dst = appendPaddedLSN(dst, r.Prev)
	dst = append(dst, ", desc: "...)
	dst = append(dst, Identify(r)...)
	dst = appendDetail(dst, r)
	for i := range r.Blocks {
		dst = append(dst, ", "...)
		dst = AppendBlockRef(dst, &r.Blocks[i])
	}
	return dst
}

// AppendBlockRef adds a block reference in pg_waldump's short form, such as
// "blkref #0: rel 1663/5/16384 fork fsm blk 2 FPW". The main fork is not named.
func AppendBlockRef(dst []byte, b *Block) []byte {
	dst = append(dst, "blkref #"...)
	dst = strconv.AppendUint(dst, uint64(b.ID), 10)
	dst = append(dst, ": rel "...)
	dst = appendRelFile(dst, b.Rel)
	if b.Fork != ForkMain {
		dst = append(dst, " fork "...)
		dst = append(dst, b.Fork.String()...)
	}
	dst = append(dst, " blk "...)
	dst = strconv.AppendUint(dst, uint64(b.Block), 10)
	if b.HasImage {
		dst = append(dst, " FPW"...)
		if !b.Image.Apply {
			dst = append(dst, " for WAL verification"...)
		}
	}
	return dst
}

func appendRelFile(dst []byte, r RelFile) []byte {
	dst = strconv.AppendUint(dst, uint64(r.Tablespace), 10)
	dst = append(dst, '/')
	dst = strconv.AppendUint(dst, uint64(r.Database), 10)
	dst = append(dst, '/')
	return strconv.AppendUint(dst, uint64(r.Relation), 10)
}

// appendLeft is %-*s.
func appendLeft(dst []byte, s string, width int) []byte {
	dst = append(dst, s...)
	for i := len(s); i < width; i++ {
		dst = append(dst, ' ')
	}
	return dst
}

// appendRight is %*u.
func appendRight(dst []byte, v uint64, width int) []byte {
	var digits [20]byte
	s := strconv.AppendUint(digits[:0], v, 10)
	for i := len(s); i < width; i++ {
		dst = append(dst, ' ')
	}
	return append(dst, s...)
}

// appendPaddedLSN is %X/%08X, pg_waldump's form of a record's position.
func appendPaddedLSN(dst []byte, l wal.LSN) []byte {
	const digits = "0123456789ABCDEF"
	dst = append(dst, (l >> 32 << 32).String()...)
	dst = dst[:len(dst)-1] // "X/0" without its zero
	for shift := 28; shift >= 0; shift -= 4 {
		dst = append(dst, digits[l>>shift&0xF])
	}
	return dst
}
