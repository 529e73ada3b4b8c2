package pagekey

import (
	"encoding/binary"

	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// What an image says of the record that made it, behind the page: start u64, xid u32,
// major version u8, resource manager u8, info u8.
const causeSize = 15

// AppendCause adds to an image which record made it.
func AppendCause(dst []byte, r *walrecord.Record) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(r.Start))
	dst = binary.LittleEndian.AppendUint32(dst, r.XID)
	return append(dst, byte(r.Major), byte(r.RMID), r.Info)
}

// ImageCause takes from the image value what it says of the record that made it, into
// r, whose other fields become zero. ok is false when it says nothing: an image of a
// base backup, one that no record references, or of a program from before.
func ImageCause(value []byte, r *walrecord.Record) (ok bool) {
	if len(value) < imageHeader {
		return false
	}
	length := int(binary.LittleEndian.Uint16(value[2:]))
	at := imageHeader + page.Size - length
	if length > page.Size || len(value) != at+causeSize {
		return false
	}
	b := value[at:]
	*r = walrecord.Record{
		Start: wal.LSN(binary.LittleEndian.Uint64(b)), XID: binary.LittleEndian.Uint32(b[8:]),
		Major: int(b[12]), RMID: walrecord.RmgrID(b[13]), Info: b[14],
	}
	return true
}

// appendCauseOf adds to an image the record that made the newest state of v.
func appendCauseOf(dst []byte, v *pagestore.Value) []byte {
	var r walrecord.Record
	if n := len(v.Deltas); n == 0 {
		if !ImageCause(v.Image, &r) {
			return dst
		}
	} else if _, _, ok, err := DecodeRecord(v.Deltas[n-1].Record, v.Deltas[n-1].LSN, &r); !ok || err != nil {
		return dst // Not of a record that references the page.
	}
	return AppendCause(dst, &r)
}
