package walcmd

import (
	"strconv"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/admin"
	"github.com/walhaven/walhaven/wal/walstore"
)

// TimelineSettings are PostgreSQL's settings as the timeline's server has them:
// those that its tools and drivers ask for.
func TimelineSettings(c walstore.Control) []admin.Setting {
	return []admin.Setting{
		{Name: "wal_segment_size", Value: c.SegmentSize.String(), Help: "Size of a WAL segment."},
		{Name: "wal_block_size", Value: "8192", Help: "Size of a WAL page in bytes."},
		{Name: "block_size", Value: "8192", Help: "Size of a data page in bytes."},
		{Name: "server_version", Value: ServerVersion(c.PGVersion), Help: "Version of the PostgreSQL that writes the timeline."},
		{Name: "server_version_num", Value: strconv.FormatUint(uint64(c.PGVersion), 10), Help: "The same as a number."},
		{Name: "cluster_name", Value: c.Name, Help: "Name of the timeline."},
	}
}

// ProgramSettings are PostgreSQL's settings that do not depend on a timeline.
func ProgramSettings() []admin.Setting {
	return []admin.Setting{
		{Name: "data_directory_mode", Value: "0700", Help: "Mode of the data directory."},
		{Name: "server_encoding", Value: "UTF8", Help: "Encoding."},
		{Name: "integer_datetimes", Value: "on", Help: "Always on."},
		{Name: "in_hot_standby", Value: "off", Help: "Always off: what is served here is no standby."},
		{Name: "wal_level", Value: "replica", Help: "What the WAL is good for."},
	}
}

// SessionSettings are the names that current_database() and its like read.
func SessionSettings(s *protocol.Session) []admin.Setting {
	return []admin.Setting{
		{Name: "user", Value: s.User, Help: "Role of the session."},
		{Name: "database", Value: s.Database, Help: "Database that the session named."},
		{Name: "pid", Value: strconv.FormatUint(uint64(s.PID), 10), Help: "Number of the session."},
	}
}

// ServerVersion is the text form of a PG_VERSION_NUM from 100000 on: 150020 is
// 15.20.
func ServerVersion(num uint32) string {
	return strconv.FormatUint(uint64(num/10000), 10) + "." + strconv.FormatUint(uint64(num%10000), 10)
}
