package consensus

import (
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// ConnID names one connection of a proposer to an acceptor. The driver draws a
// new one for each connection and never uses one twice.
type ConnID uint64

// Positions is what the acceptor has to know of the log: where the next byte
// goes, and the end of the last whole record that is durable. FlushRecord may
// be above Write: after XLOG_SWITCH the padding is part of the record.
type Positions struct {
	Write       wal.LSN
	FlushRecord wal.LSN
}

// Effects is what an acceptor's driver has to do, field by field from the top.
// A later field must not be begun before the earlier ones are done; Send in
// particular speaks of what the fields above it have made durable.
//
// When one fails the acceptor is ahead of the disk: send nothing of these
// effects, close the connections, and build a new Acceptor from what is on disk.
// Append is the exception: when the log refuses the bytes, close the connection
// and go on without calling Appended.
type Effects struct {
	// SyncFirst asks for a sync of the whole log before anything else. The
	// acceptor has counted it already; Synced need not be called for it.
	SyncFirst bool
	// Truncate cuts the log. Durable before Save, for a history must never
	// claim bytes that another term wrote.
	Truncate *Truncation
	// Save is the state to persist: durable before Send.
	Save *State
	// Append is WAL to write, not durably, with the TLI of its bytes filled in.
	// Report it with Appended. It aliases the message that was stepped.
	Append *pushwal.AppendRequest
	// NeedSync asks for a sync at the driver's convenience, one for many
	// appends. Report it with Synced, whose effects carry the answers.
	NeedSync bool
	// Send is what to send, in order.
	Send []Outgoing
	// Commit is the new commit position when it advanced, else 0.
	Commit wal.LSN
}

// Truncation asks for a log that ends at To.
type Truncation struct {
	To wal.LSN
	// History is the PostgreSQL history that the log will follow from To on.
	History wal.TimelineHistory
	// Prefix asks for made-up bytes from the start of the segment to To: the log
	// is empty and the proposer is one that cannot send the true ones.
	Prefix bool
}

// Outgoing is a message for one connection. Msg is the receiver's to keep.
type Outgoing struct {
	Conn ConnID
	Msg  pushwal.AcceptorMessage
}
