package sender

import (
	"errors"
	"fmt"
	"io"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walstore"
)

// choose settles the timeline and says whether the request starts exactly where
// it ends, so that there is nothing to stream. Its errors come before the
// stream, as PostgreSQL's do (StartReplication in walsender.c).
func (s *session) choose() (over bool, err error) {
	history := s.o.Source.History()
	if s.request.Term != nil || s.tli == 0 {
		s.tli = history.Last
		return false, nil
	}
	end, _, historic := history.SwitchPoint(s.tli)
	if _, known := history.Begin(s.tli); !known {
		return false, protocol.Errorf(protocol.CodeInternalError,
			"requested timeline %d is not in this server's history", s.tli)
	}
	if historic && s.at > end {
		return false, protocol.Errorf(protocol.CodeInternalError,
			"requested starting point %s on timeline %d is not in this server's history", s.at, s.tli).
			WithDetail("This server's history forked from timeline %d at %s.", s.tli, end)
	}
	return historic && s.at == end, nil
}

// checkStart refuses positions; these errors come inside the stream.
func (s *session) checkStart() error {
	if flush := s.o.Source.FlushLSN(); s.request.Term == nil && s.at > flush {
		return protocol.Errorf(protocol.CodeInternalError,
			"requested starting point %s is ahead of the WAL flush position of this server %s", s.at, flush)
	}
	if s.at < s.o.Source.Oldest() {
		return s.removed(s.at)
	}
	return nil
}

// removed is the error for WAL that retention took.
func (s *session) removed(at wal.LSN) error {
	size := s.o.Source.SegmentSize()
	return protocol.Errorf(protocol.CodeUndefinedFile, "requested WAL segment %s has already been removed",
		size.FileName(s.o.Source.History().TLIAt(at), size.SegmentNo(at)))
}

// end is where the stream's timeline ends, if it does. It may come to an end
// while it is being streamed.
func (s *session) end() (at wal.LSN, next wal.TLI, historic bool) {
	if s.request.Term != nil {
		return 0, 0, false
	}
	return s.o.Source.History().SwitchPoint(s.tli)
}

// lentFrom is from how many bytes on a frame's WAL goes from its file to the
// connection without being read. Less is more quickly copied, most of it from
// memory (replication's newest WAL), as whoever keeps up gets it.
const lentFrom = 32 << 10

// borrow has the next frame's n bytes of WAL in s.lent, which the caller releases,
// if they may be sent from their file: what is committed, to a peer that can take it.
func (s *session) borrow(n int) (ok bool) {
	if n < lentFrom || s.request.Term != nil || !s.stream.SendsFiles() {
		return false
	}
	s.lent, ok = s.o.Source.Lend(s.at, n)
	return ok
}

// read reads the next frame's n bytes of WAL into the session's buffer.
func (s *session) read(n int) ([]byte, error) {
	p := s.buf[:n]
	var err error
	if s.request.Term != nil {
		n, _, err = s.o.Source.ReadTerm(*s.request.Term, p, s.at)
	} else {
		n, err = s.o.Source.ReadAt(p, s.at)
	}
	switch {
	case errors.Is(err, walstore.ErrRemoved):
		return nil, s.removed(s.at)
	case err == nil && n == 0:
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, fmt.Errorf("read WAL at %s: %w", s.at, err)
	}
	return p[:n], nil
}

// chunk is the length of the next frame: at most the buffer, never across a
// segment, and cut at a page when more follows.
func (s *session) chunk(limit wal.LSN) int {
	size := s.o.Source.SegmentSize()
	stop := min(limit, s.at+wal.LSN(len(s.buf)), size.SegmentStart(s.at)+wal.LSN(size))
	if stop < limit {
		stop = stop.PageStart()
	}
	return int(stop - s.at)
}
