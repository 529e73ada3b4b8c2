package pageserver

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walstore"
)

// log is what take needs of the timeline's store.
type log interface {
	Positions() walstore.Positions
	Oldest() wal.LSN
	ReadAt(p []byte, at wal.LSN) (int, error)
	Append(tli wal.TLI, at wal.LSN, data []byte) error
}

// errMismatch says that a pusher's committed bytes differ from ours. Committed
// prefixes are unique, so one of the two is wrong and nobody here can say
// which: the timeline stops.
var errMismatch = errors.New("pushed WAL differs from what is stored")

// checkFrame applies what must hold for a frame before its bytes are looked at.
func checkFrame(m *pushwal.AppendRequest, h wal.TimelineHistory) error {
	if err := m.CheckCRC(); err != nil {
		return protocol.Errorf(protocol.CodeDataCorrupted, "%w", err)
	}
	if len(m.WAL) == 0 {
		return nil
	}
	if m.End > m.CommitLSN {
		return protocol.Errorf(protocol.CodeProtocolViolation,
			"pushed WAL ends at %s, above its commit LSN %s", m.End, m.CommitLSN)
	}
	if first, last := h.TLIAt(m.Begin), h.TLIAt(m.End-1); first != m.TLI || last != m.TLI {
		return protocol.Errorf(protocol.CodeProtocolViolation,
			"pushed WAL %s..%s is said to be of timeline %d, by the history it is of timeline %d", m.Begin, m.End, m.TLI, first).
			WithHint("The pusher must greet again with its new timeline history.")
	}
	return nil
}

// takeFrame stores what of m is new: bytes that are here already are compared,
// never overwritten, and a gap is refused. It returns how many bytes were
// appended. The caller serialises calls of one timeline.
func takeFrame(l log, m *pushwal.AppendRequest, scratch []byte) (int, error) {
	have := l.Positions().Write
	if m.Begin > have {
		return 0, protocol.Errorf(protocol.CodeNotInState,
			"pushed WAL begins at %s, but the WAL here ends at %s", m.Begin, have)
	}
	data := m.WAL
	if overlap := min(m.End, have) - m.Begin; overlap > 0 {
		if err := compare(l, m.Begin, data[:overlap], scratch); err != nil {
			return 0, err
		}
		data = data[overlap:]
	}
	if len(data) == 0 {
		return 0, nil
	}
	invariant.Point("pageserver/store/before")
	if err := l.Append(m.TLI, have, data); err != nil {
		return 0, appendError(err)
	}
	invariant.Point("pageserver/store/after")
	return len(data), nil
}

// compare checks that the pushed bytes at at are those stored here. What
// retention has removed cannot be compared and is dropped.
func compare(l log, at wal.LSN, pushed, scratch []byte) error {
	if oldest := l.Oldest(); at < oldest {
		skip := min(uint64(oldest-at), uint64(len(pushed)))
		at, pushed = at+wal.LSN(skip), pushed[skip:]
	}
	for len(pushed) > 0 {
		own := scratch[:min(len(pushed), len(scratch))]
		n, err := l.ReadAt(own, at)
		if n == 0 {
			return fmt.Errorf("read WAL at %s to compare it: %w", at, err)
		}
		if !bytes.Equal(own[:n], pushed[:n]) {
			return mismatchAt(at, own[:n], pushed[:n])
		}
		at, pushed = at+wal.LSN(n), pushed[n:]
	}
	return nil
}

func mismatchAt(at wal.LSN, own, pushed []byte) error {
	i := 0
	for own[i] == pushed[i] {
		i++
	}
	return protocol.Errorf(protocol.CodeDataCorrupted, "%w, first at %s", errMismatch, at+wal.LSN(i)).
		WithHint("Compare the members with WAL_DIGEST around this position; nothing was overwritten.")
}

func appendError(err error) error {
	var damaged *walstore.CorruptionError
	switch {
	case errors.As(err, &damaged):
		return protocol.Errorf(protocol.CodeDataCorrupted, "%w", err)
	case walstore.IsDiskFull(err):
		return protocol.Errorf(protocol.CodeDiskFull, "%w", err)
	}
	return protocol.Errorf(protocol.CodeInternalError, "%w", err)
}
