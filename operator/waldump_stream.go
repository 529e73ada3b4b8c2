package operator

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/replication/receiver"
	"github.com/walhaven/walhaven/wal"
)

// StreamedWAL is the committed WAL of a running safekeeper, read in order over
// the replication protocol.
type StreamedWAL struct {
	client *replication.Client
	stream *receiver.Receiver
	source WALSource
	next   wal.LSN // position of data
	data   []byte  // received and not yet read; valid until the stream's next message
	end    wal.LSN // committed when the stream began: there is no need to wait below it
}

// StreamWAL asks a safekeeper of the cluster for WAL from the segment that
// holds start on; 0 is the oldest that it has. The caller closes it.
func (c *Cluster) StreamWAL(ctx context.Context, n Node, start wal.LSN) (*StreamedWAL, error) {
	status, err := c.timelineStatus(ctx, n)
	if err != nil {
		return nil, err
	}
	first := status.SegmentSize.SegmentStart(max(start, status.Oldest))
	conninfo, err := c.conninfo(n.PG)
	if err != nil {
		return nil, err
	}
	client, err := replication.Connect(ctx, conninfo, replication.DialOptions{Params: physical})
	if err != nil {
		return nil, err
	}
	stream, err := receiver.Start(ctx, client, first, receiver.Options{TLI: status.TLIHistory.TLIAt(first)})
	if err != nil {
		return nil, fmt.Errorf("stream WAL: %w", errors.Join(err, client.Close()))
	}
	s := &StreamedWAL{client: client, stream: stream, next: first, end: status.CommitLSN}
	s.source = WALSource{WALReader: s, SegmentSize: status.SegmentSize, First: first}
	return s, nil
}

// Source is what Waldump reads.
func (s *StreamedWAL) Source() WALSource { return s.source }

// ReadAt implements WALReader for readers that go forward without a gap. At the
// end of what was committed when the stream began it returns io.EOF unless more
// is here already.
func (s *StreamedWAL) ReadAt(p []byte, at wal.LSN) (n int, err error) {
	if at != s.next {
		return 0, fmt.Errorf("WAL is streamed in order: at %s, not %s", s.next, at)
	}
	for n < len(p) {
		if len(s.data) == 0 {
			if s.next >= s.end && !s.stream.Buffered() {
				return n, io.EOF
			}
			if err := s.receive(); err != nil {
				return n, err
			}
		}
		k := copy(p[n:], s.data)
		n, s.data, s.next = n+k, s.data[k:], s.next+wal.LSN(k)
	}
	return n, nil
}

// Follow waits for more; it is a WaldumpOptions.Follow.
func (s *StreamedWAL) Follow(context.Context, wal.LSN) error {
	if len(s.data) > 0 {
		return nil
	}
	return s.receive()
}

func (s *StreamedWAL) receive() (err error) {
	_, s.data, err = s.stream.Next()
	return err
}

// Close ends the stream.
func (s *StreamedWAL) Close() error { return errors.Join(s.stream.Close(), s.client.Close()) }
