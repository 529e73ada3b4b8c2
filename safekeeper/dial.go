package safekeeper

import (
	"context"
	"strconv"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
)

// dialOptions choose the timeline and log in as --peer-user. The application
// name begins with "safekeeper", which makes IDENTIFY_SYSTEM tell what is
// flushed.
func (s *Server) dialOptions(id wal.TTID) replication.DialOptions {
	return s.o.Config.Peer.Options(program+"_"+strconv.FormatUint(s.dir.Identity.ID, 10), id)
}

func (s *Server) dialPush(ctx context.Context, t *timeline, addr string) (*protocol.CopyStream, error) {
	conninfo, err := s.o.Config.Peer.Conninfo(addr)
	if err != nil {
		return nil, err
	}
	return replication.Dial(ctx, conninfo, pushCommand, s.dialOptions(t.id))
}
