package replication

import (
	"fmt"
	"iter"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/walhaven/walhaven/protocol/pushwal"
)

// FormatMembers writes a set of members as id=host:port,id=host:port.
func FormatMembers(members []pushwal.Member) string {
	entries := make([]string, len(members))
	for i, m := range members {
		entries[i] = strconv.FormatUint(uint64(m.ID), 10) + "=" +
			net.JoinHostPort(m.Host, strconv.Itoa(int(m.Port)))
	}
	return strings.Join(entries, ",")
}

// ParseMembers reads what FormatMembers wrote.
func ParseMembers(text string) (members []pushwal.Member, err error) {
	for entry := range splitList(text) {
		id, address, err := nodeEntry(entry)
		if err != nil {
			return nil, err
		}
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, fmt.Errorf("parse members %q: %w", text, err)
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("parse members %q: %w", text, err)
		}
		members = append(members, pushwal.Member{ID: id, Host: host, Port: uint16(n)})
	}
	return members, nil
}

// FormatIncarnations writes the known incarnations of members as id=hex,id=hex.
func FormatIncarnations(members []pushwal.Member) string {
	var entries []string
	for _, m := range members {
		if !m.Incarnation.IsZero() {
			entries = append(entries, strconv.FormatUint(uint64(m.ID), 10)+"="+m.Incarnation.String())
		}
	}
	return strings.Join(entries, ",")
}

// SetIncarnations reads what FormatIncarnations wrote into members. A node that is
// no member is an error.
func SetIncarnations(members []pushwal.Member, text string) error {
	for entry := range splitList(text) {
		id, value, err := nodeEntry(entry)
		if err != nil {
			return err
		}
		incarnation, err := pushwal.ParseIncarnation(value)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(members, func(m pushwal.Member) bool { return m.ID == id })
		if i < 0 {
			return fmt.Errorf("node %d has an incarnation but is no member", id)
		}
		members[i].Incarnation = incarnation
	}
	return nil
}

// nodeEntry splits id=value.
func nodeEntry(entry string) (pushwal.NodeID, string, error) {
	id, value, ok := strings.Cut(entry, "=")
	if !ok {
		return 0, "", fmt.Errorf("parse %q: want id=value", entry)
	}
	n, err := strconv.ParseUint(id, 10, 64)
	if err != nil || n == 0 {
		return 0, "", fmt.Errorf("parse %q: %q is no node id", entry, id)
	}
	return pushwal.NodeID(n), value, nil
}

// splitList yields the elements of a comma-separated list, none for "".
func splitList(text string) iter.Seq[string] {
	if text == "" {
		return func(func(string) bool) {}
	}
	return strings.SplitSeq(text, ",")
}
