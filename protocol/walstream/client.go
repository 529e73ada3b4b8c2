package walstream

import (
	"encoding/binary"
	"fmt"

	"github.com/walhaven/walhaven/wal"
)

// StatusUpdate is how far a client has come. Positions may be in any relation
// to each other and to what was sent; Flush 0 means "not reported".
type StatusUpdate struct {
	Write, Flush, Apply wal.LSN // last byte + 1
	Time                wal.Timestamp
	ReplyRequested      bool // answer at once with a Keepalive that asks for none
}

// AppendStatusUpdate appends m to dst.
func AppendStatusUpdate(dst []byte, m *StatusUpdate) []byte {
	dst = append(dst, KindStatusUpdate)
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.Write))
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.Flush))
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.Apply))
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.Time))
	return append(dst, flag(m.ReplyRequested))
}

// DecodeStatusUpdate decodes src into m.
func DecodeStatusUpdate(src []byte, m *StatusUpdate) error {
	if err := check(src, KindStatusUpdate, StatusUpdateSize, true, "status update"); err != nil {
		return err
	}
	m.Write = wal.LSN(binary.BigEndian.Uint64(src[1:]))
	m.Flush = wal.LSN(binary.BigEndian.Uint64(src[9:]))
	m.Apply = wal.LSN(binary.BigEndian.Uint64(src[17:]))
	m.Time = wal.Timestamp(binary.BigEndian.Uint64(src[25:]))
	m.ReplyRequested = src[33] != 0
	return nil
}

// HotStandbyFeedback is the oldest transactions that a standby still needs;
// both xids 0 withdraw earlier feedback.
type HotStandbyFeedback struct {
	Time                          wal.Timestamp
	Xmin, XminEpoch               uint32
	CatalogXmin, CatalogXminEpoch uint32
}

// FullXmin is Xmin with its epoch in the high 32 bits, 0 when there is none.
func (m *HotStandbyFeedback) FullXmin() uint64 { return fullXID(m.Xmin, m.XminEpoch) }

// FullCatalogXmin is CatalogXmin with its epoch in the high 32 bits, 0 when
// there is none.
func (m *HotStandbyFeedback) FullCatalogXmin() uint64 {
	return fullXID(m.CatalogXmin, m.CatalogXminEpoch)
}

func fullXID(xid, epoch uint32) uint64 {
	if xid == 0 {
		return 0
	}
	return uint64(epoch)<<32 | uint64(xid)
}

// AppendHotStandbyFeedback appends m to dst.
func AppendHotStandbyFeedback(dst []byte, m *HotStandbyFeedback) []byte {
	dst = append(dst, KindHotStandbyFeedback)
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.Time))
	dst = binary.BigEndian.AppendUint32(dst, m.Xmin)
	dst = binary.BigEndian.AppendUint32(dst, m.XminEpoch)
	dst = binary.BigEndian.AppendUint32(dst, m.CatalogXmin)
	return binary.BigEndian.AppendUint32(dst, m.CatalogXminEpoch)
}

// DecodeHotStandbyFeedback decodes src into m.
func DecodeHotStandbyFeedback(src []byte, m *HotStandbyFeedback) error {
	if err := check(src, KindHotStandbyFeedback, HotStandbyFeedbackSize, true, "hot standby feedback"); err != nil {
		return err
	}
	m.Time = wal.Timestamp(binary.BigEndian.Uint64(src[1:]))
	m.Xmin = binary.BigEndian.Uint32(src[9:])
	m.XminEpoch = binary.BigEndian.Uint32(src[13:])
	m.CatalogXmin = binary.BigEndian.Uint32(src[17:])
	m.CatalogXminEpoch = binary.BigEndian.Uint32(src[21:])
	return nil
}

// AppendPageserverFeedback appends a message that carries block, which package
// protocol/pushwal encodes.
func AppendPageserverFeedback(dst, block []byte) []byte {
	dst = append(dst, KindPageserverFeedback)
	dst = binary.BigEndian.AppendUint64(dst, uint64(len(block)))
	return append(dst, block...)
}

// DecodePageserverFeedback returns the block of the message in src, without
// copying it.
func DecodePageserverFeedback(src []byte) (block []byte, err error) {
	const what = "pageserver feedback"
	if err := check(src, KindPageserverFeedback, PageserverFeedbackHeaderSize, false, what); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint64(src[1:])
	if n > uint64(len(src)-PageserverFeedbackHeaderSize) {
		return nil, fmt.Errorf("decode %s with a block of %d bytes: %w", what, n, ErrMalformed)
	}
	return src[PageserverFeedbackHeaderSize:][:n], nil
}
