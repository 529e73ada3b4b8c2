package admin

import (
	"math"
	"strconv"
	"strings"

	"github.com/walhaven/walhaven/wal"
)

// Commands of the safekeeper protocol that PostgreSQL does not know.
type (
	// StartWALPush is START_WAL_PUSH, Neon's command with options of ours.
	StartWALPush struct {
		ProtoVersion          uint32 // as asked for, default 2; not checked here
		AllowTimelineCreation bool   // default true, Neon's
		Walhaven              uint32 // version of our extensions asked for, 0 is none
		Role                  string // "" or "pageserver"
		Options               map[string]string
	}
	// TimelineStatus is TIMELINE_STATUS.
	TimelineStatus struct{}
	// WALDigest is WAL_DIGEST start end.
	WALDigest struct{ Range wal.Range }
)

func (StartWALPush) replicationCommand()   {}
func (TimelineStatus) replicationCommand() {}
func (WALDigest) replicationCommand()      {}

func (p *parser) walDigest() (ReplicationCommand, error) {
	start, err := p.lsn()
	if err != nil {
		return nil, err
	}
	end, err := p.lsn()
	if err != nil {
		return nil, err
	}
	r := wal.Range{Start: start, End: end}
	if !r.Valid() {
		return nil, Errorf(codeInvalidParameter, "start %s lies behind end %s", start, end)
	}
	return WALDigest{Range: r}, nil
}

// startWALPush reads "[ ( key value, ... ) ]". Every option needs a value,
// quoted or not; unknown ones are kept for whoever knows them.
func (p *parser) startWALPush() (ReplicationCommand, error) {
	c := StartWALPush{ProtoVersion: 2, AllowTimelineCreation: true, Options: map[string]string{}}
	if !p.peek().is("(") {
		return c, nil
	}
	options, err := p.options()
	if err != nil {
		return nil, err
	}
	for _, o := range options {
		if !o.HasValue {
			return nil, syntaxError()
		}
		c.Options[o.Name] = o.Value
		if err := c.set(o); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *StartWALPush) set(o Option) (err error) {
	var n uint64
	switch o.Name {
	case "proto_version":
		n, err = parseUint(o.Name, o.Value)
		c.ProtoVersion = uint32(min(n, math.MaxUint32))
	case "allow_timeline_creation":
		c.AllowTimelineCreation, err = ParseBool(o.Name, o.Value)
	case "walhaven":
		n, err = parseUint(o.Name, o.Value)
		c.Walhaven = uint32(min(n, math.MaxUint32))
	case "role":
		c.Role = o.Value
	}
	return err
}

func parseUint(name, value string) (uint64, error) {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil {
		return 0, Errorf(codeInvalidParameter, "invalid value for parameter %q: %q", name, value)
	}
	return n, nil
}

func lower(s string) string { return strings.ToLower(s) }
