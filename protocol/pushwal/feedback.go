package pushwal

import (
	"fmt"

	"github.com/walhaven/walhaven/wal"
)

// Keys of the pageserver feedback block (libs/utils/src/pageserver_feedback.rs)
// and ours, "active".
const (
	keyTimelineSize = "current_timeline_size"
	keyWriteLSN     = "ps_writelsn"
	keyFlushLSN     = "ps_flushlsn"
	keyApplyLSN     = "ps_applylsn"
	keyReplyTime    = "ps_replytime"
	keyShardNumber  = "shard_number"
	keyCorruption   = "corruption_detected"
	keyActive       = "active"
)

// AppendPageserverFeedback appends the block to dst, big endian whatever the
// version.
func AppendPageserverFeedback(dst []byte, f *PageserverFeedback) []byte {
	w := beginOptions(dst)
	w.u64(keyTimelineSize, f.TimelineSize)
	w.u64(keyWriteLSN, uint64(f.LastReceivedLSN))
	w.u64(keyFlushLSN, uint64(f.DiskConsistent))
	w.u64(keyApplyLSN, uint64(f.RemoteConsistent))
	w.u64(keyReplyTime, uint64(f.ReplyTime))
	if f.ShardNumber > 0 {
		w.u32(keyShardNumber, f.ShardNumber)
	}
	if f.Corruption {
		w.u8(keyCorruption, 1)
	}
	if f.Active != ActivityUnknown {
		w.u8(keyActive, flag(f.Active == Active))
	}
	return w.b
}

// DecodePageserverFeedback decodes a block that fills src. Both names that Neon
// has for a position are read; unknown keys are skipped.
func DecodePageserverFeedback(src []byte, f *PageserverFeedback) error {
	const what = "pageserver feedback"
	*f = PageserverFeedback{}
	d := decoder{rest: src}
	for n := d.u8(); n > 0 && !d.short; n-- {
		key, value := d.option()
		if d.short {
			break
		}
		if err := f.set(key, value); err != nil {
			return fmt.Errorf("decode %s: %w", what, err)
		}
	}
	return d.end(what, true)
}

func (f *PageserverFeedback) set(key, value []byte) (err error) {
	switch string(key) {
	case keyTimelineSize:
		err = u64Value(keyTimelineSize, value, &f.TimelineSize)
	case keyWriteLSN, "last_received_lsn":
		err = u64Value(keyWriteLSN, value, (*uint64)(&f.LastReceivedLSN))
	case keyFlushLSN, "disk_consistent_lsn":
		err = u64Value(keyFlushLSN, value, (*uint64)(&f.DiskConsistent))
	case keyApplyLSN, "remote_consistent_lsn":
		err = u64Value(keyApplyLSN, value, (*uint64)(&f.RemoteConsistent))
	case keyReplyTime, "replytime":
		var t uint64
		err = u64Value(keyReplyTime, value, &t)
		f.ReplyTime = wal.Timestamp(t)
	case keyShardNumber:
		err = u32Value(keyShardNumber, value, &f.ShardNumber)
	case keyCorruption:
		var v uint8
		err = u8Value(keyCorruption, value, &v)
		f.Corruption = v != 0
	case keyActive:
		var v uint8
		err = u8Value(keyActive, value, &v)
		f.Active = StandBy
		if v != 0 {
			f.Active = Active
		}
	}
	return err
}
