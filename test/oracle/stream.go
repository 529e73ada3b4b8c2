package oracle

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pagestream"
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Stream gives what a pageserver answers to page requests, version 3, at an LSN.
// The connection ends with the test.
func Stream(t testing.TB, conninfo string, id wal.TTID, lsn wal.LSN) Pages {
	t.Helper()
	s := &stream{t: t, conninfo: conninfo, lsn: lsn, ahead: map[uint32]readAheadAnswer{}}
	var err error
	s.stream, err = replication.Dial(context.Background(), conninfo, fmt.Sprintf("pagestream_v3 %s %s", id.Tenant, id.Timeline),
		replication.DialOptions{MaxFrame: 1 << 20})
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.stream.Close() }) // It was only read.
	return s
}

type stream struct {
	t        testing.TB
	conninfo string
	lsn      wal.LSN
	stream   *protocol.CopyStream
	id       uint64

	forks map[Fork]uint32
	fork  Fork                       // whose blocks are in ahead
	ahead map[uint32]readAheadAnswer // as a compute reads
}

// readAheadAnswer is a page, or why there is none.
type readAheadAnswer struct {
	page *page.Page
	err  error
}

// readAhead is how many pages are asked for at once.
const readAhead = 64

func (s *stream) Forks(ctx context.Context) (map[Fork]uint32, error) {
	rows, err := replication.Query(ctx, s.conninfo, "SHOW RELATIONS AT LSN '"+s.lsn.String()+"'", replication.DialOptions{})
	if err != nil {
		return nil, err
	}
	s.forks = map[Fork]uint32{}
	for _, row := range rows {
		var f Fork
		var blocks uint32
		for name, p := range map[string]*uint32{
			"tablespace": &f.Rel.Tablespace, "database": &f.Rel.Database, "relfilenumber": &f.Rel.Relation, "blocks": &blocks,
		} {
			n, err := strconv.ParseUint(row[name], 10, 32)
			if err != nil {
				return nil, err
			}
			*p = uint32(n)
		}
		for f.Fork = walrecord.ForkMain; f.Fork.String() != row["fork"]; f.Fork++ {
			if f.Fork > walrecord.ForkInit {
				return nil, fmt.Errorf("fork %q", row["fork"])
			}
		}
		s.forks[f] = blocks
	}
	return s.forks, nil
}

func (s *stream) request(k pagestream.Kind) *pagestream.Request {
	s.id++
	return &pagestream.Request{Kind: k, ID: s.id, LSN: s.lsn, NotModifiedSince: s.lsn}
}

func (s *stream) send(q *pagestream.Request) error {
	return s.stream.Send(pagestream.AppendRequest(nil, pagestream.Version3, q))
}

// answer reads the answer to the request with this number.
func (s *stream) answer(id uint64) (*pagestream.Response, error) {
	msg, err := s.stream.Receive()
	if err != nil {
		return nil, err
	}
	r := new(pagestream.Response)
	switch err := pagestream.DecodeResponse(pagestream.Version3, msg, r); {
	case err != nil:
		return nil, err
	case r.Request.ID != id:
		return nil, fmt.Errorf("answer %d to request %d", r.Request.ID, id)
	case r.Failure != "":
		return nil, errors.New(r.Failure)
	}
	return r, nil
}

func (s *stream) Page(_ context.Context, f Fork, block uint32) (*page.Page, error) {
	if a, ok := s.ahead[block]; ok && f == s.fork {
		return a.page, a.err
	}
	s.fork = f
	clear(s.ahead)
	first := s.id + 1
	n := min(readAhead, s.forks[f]-block)
	for i := range n {
		q := s.request(pagestream.GetPage)
		q.Tablespace, q.Database, q.Relation, q.Fork, q.Block = f.Rel.Tablespace, f.Rel.Database, f.Rel.Relation, uint8(f.Fork), block+i
		if err := s.send(q); err != nil {
			return nil, err
		}
	}
	if err := s.stream.Flush(); err != nil {
		return nil, err
	}
	for i := range n {
		r, err := s.answer(first + uint64(i))
		if err != nil {
			s.ahead[block+i] = readAheadAnswer{err: err}
			continue
		}
		s.ahead[block+i] = readAheadAnswer{page: (*page.Page)(append([]byte(nil), r.Pages...))}
	}
	return s.ahead[block].page, s.ahead[block].err
}

func (s *stream) Segments(ctx context.Context, slru pagekey.SLRU) (map[uint32]bool, bool, error) {
	if slru > pagestream.SlruMultixactOffsets {
		return nil, false, nil
	}
	rows, err := replication.Query(ctx, s.conninfo, "SHOW SLRU AT LSN '"+s.lsn.String()+"'", replication.DialOptions{})
	segments := map[uint32]bool{}
	for _, row := range rows {
		n, err := strconv.ParseUint(row["segment"], 10, 32)
		if err != nil {
			return nil, false, err
		}
		if row["slru"] == slru.Dir() {
			segments[uint32(n)] = true
		}
	}
	return segments, true, err
}

func (s *stream) Segment(_ context.Context, slru pagekey.SLRU, segment uint32) ([]byte, error) {
	q := s.request(pagestream.GetSlruSegment)
	q.SLRU, q.Segment = uint8(slru), segment
	if err := errors.Join(s.send(q), s.stream.Flush()); err != nil {
		return nil, err
	}
	r, err := s.answer(q.ID)
	if err != nil {
		return nil, err
	}
	return append([]byte(nil), r.Pages...), nil
}
