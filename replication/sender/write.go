package sender

import (
	"context"
	"fmt"
	"time"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/walstream"
	"github.com/walhaven/walhaven/wal"
)

// write is the writing half: it sends WAL as it becomes available until the
// timeline ends (nil), a drain is complete (nil, shutdown), or ctx is done.
func (s *session) write(ctx context.Context) error {
	for {
		limit, final, err := s.limit()
		if err != nil {
			return err
		}
		switch {
		case s.keepalive.Swap(false):
			if err := s.sendKeepalive(limit, s.ask.Swap(false)); err != nil {
				return err
			}
		case s.at < limit:
			if err := s.sendWAL(limit); err != nil {
				return err
			}
		case final:
			return nil
		case s.draining.Load():
			s.shutdown = true
			return s.drain(ctx, limit)
		default:
			// What was sent is flushed before waiting for more.
			if err := s.stream.Flush(); err != nil {
				return err
			}
			if err := s.await(s.waitContext(ctx)); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// limit is up to where WAL may be sent now, and whether the timeline ends there.
func (s *session) limit() (limit wal.LSN, final bool, err error) {
	if s.request.Term != nil {
		// Checks the term as well, reading nothing.
		_, limit, err := s.o.Source.ReadTerm(*s.request.Term, nil, s.at)
		return limit, false, err
	}
	limit = s.o.Source.CommitLSN()
	if end, _, historic := s.end(); historic && end <= limit {
		return end, true, nil
	}
	return limit, false, nil
}

// waitContext returns a context that a nudge ends, also one that came just
// before. It is made anew only when the last one has ended.
func (s *session) waitContext(ctx context.Context) context.Context {
	s.mu.Lock()
	if s.waiting == nil || s.waiting.Err() != nil {
		s.waiting, s.endWait = context.WithCancel(ctx)
	}
	waiting := s.waiting
	s.mu.Unlock()
	if s.keepalive.Load() || s.draining.Load() {
		s.nudge()
	}
	return waiting
}

// await waits for WAL behind what was sent. A nudge ends the wait as well, and
// is no error.
func (s *session) await(waiting context.Context) (err error) {
	if s.request.Term != nil {
		_, err = s.o.Source.WaitTerm(waiting, *s.request.Term, s.at)
	} else {
		_, err = s.o.Source.WaitCommit(waiting, s.at)
	}
	if waiting.Err() != nil {
		return nil
	}
	return err
}

// sendWAL sends one frame of WAL below limit.
func (s *session) sendWAL(limit wal.LSN) error {
	n := s.chunk(limit)
	var data []byte
	lent := s.borrow(n)
	if lent {
		defer s.lent.Release()
	} else {
		var err error
		if data, err = s.read(n); err != nil {
			return err
		}
		n = len(data)
	}
	header := walstream.AppendXLogDataHeader(s.header[:0], &walstream.XLogData{
		Start: s.at, WALEnd: limit, Time: wal.TimestampOf(time.Now()),
	})
	invariant.Point("sender/stream/before")
	if lent {
		part := protocol.FileRange{File: &s.lent, Offset: s.lent.Offset(), Length: n}
		if err := s.stream.SendFile(header, part); err != nil {
			return fmt.Errorf("send WAL at %s: %w", s.at, err)
		}
	} else if err := s.stream.Send(header, data); err != nil {
		return err
	}
	invariant.Point("sender/stream/after")
	s.at += wal.LSN(n)
	s.o.Metrics.bytes.Add(float64(n))
	s.idle.Reset(s.o.Keepalive)
	if s.o.OnSent != nil {
		s.o.OnSent(s.at)
	}
	return nil
}

func (s *session) sendKeepalive(limit wal.LSN, ask bool) error {
	var buf [walstream.KeepaliveSize]byte
	message := walstream.AppendKeepalive(buf[:0], &walstream.Keepalive{
		WALEnd: limit, Time: wal.TimestampOf(time.Now()), ReplyRequested: ask,
	})
	invariant.Point("sender/keepalive/before")
	if err := s.stream.Send(message); err != nil {
		return err
	}
	s.idle.Reset(s.o.Keepalive)
	return s.stream.Flush()
}

// drain waits until the client confirmed all that was sent, asking it to, and
// announces the end of the server.
func (s *session) drain(ctx context.Context, limit wal.LSN) error {
	if err := s.sendKeepalive(limit, true); err != nil {
		return err
	}
	deadline, cancel := context.WithTimeout(ctx, s.o.DrainTimeout)
	defer cancel()
	for wal.LSN(s.confirmed.Load()) < s.at && deadline.Err() == nil {
		select {
		case <-s.reported:
		case <-deadline.Done():
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	invariant.Point("sender/shutdown/before")
	return s.stream.SendShutdown()
}
