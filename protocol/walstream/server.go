package walstream

import (
	"encoding/binary"

	"github.com/walhaven/walhaven/wal"
)

// XLogData is a run of WAL.
type XLogData struct {
	Start  wal.LSN // of the first byte of Data
	WALEnd wal.LSN // end of WAL on the server; on a historic timeline its end
	Time   wal.Timestamp
	Data   []byte // aliases the buffer that it was decoded from
}

// AppendXLogDataHeader appends m without Data, which the caller sends behind it
// (CopyStream.Send(header, data)).
func AppendXLogDataHeader(dst []byte, m *XLogData) []byte {
	dst = append(dst, KindXLogData)
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.Start))
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.WALEnd))
	return binary.BigEndian.AppendUint64(dst, uint64(m.Time))
}

// DecodeXLogData decodes src into m without copying.
func DecodeXLogData(src []byte, m *XLogData) error {
	if err := check(src, KindXLogData, XLogDataHeaderSize, false, "WAL data"); err != nil {
		return err
	}
	m.Start = wal.LSN(binary.BigEndian.Uint64(src[1:]))
	m.WALEnd = wal.LSN(binary.BigEndian.Uint64(src[9:]))
	m.Time = wal.Timestamp(binary.BigEndian.Uint64(src[17:]))
	m.Data = src[XLogDataHeaderSize:]
	return nil
}

// Keepalive says where WAL ends, and possibly asks for a status update.
type Keepalive struct {
	WALEnd         wal.LSN
	Time           wal.Timestamp
	ReplyRequested bool
}

// AppendKeepalive appends m to dst.
func AppendKeepalive(dst []byte, m *Keepalive) []byte {
	dst = append(dst, KindKeepalive)
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.WALEnd))
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.Time))
	return append(dst, flag(m.ReplyRequested))
}

// DecodeKeepalive decodes src into m.
func DecodeKeepalive(src []byte, m *Keepalive) error {
	if err := check(src, KindKeepalive, KeepaliveSize, true, "keepalive"); err != nil {
		return err
	}
	m.WALEnd = wal.LSN(binary.BigEndian.Uint64(src[1:]))
	m.Time = wal.Timestamp(binary.BigEndian.Uint64(src[9:]))
	m.ReplyRequested = src[17] != 0
	return nil
}

func flag(v bool) byte {
	if v {
		return 1
	}
	return 0
}
