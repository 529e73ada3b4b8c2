package wal

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"time"
)

// Term numbers the periods of one elected proposer. Nobody is ever elected in
// term 0.
type Term uint64

// TLI is PostgreSQL's timeline number (TimeLineID); 1 for a new cluster.
type TLI uint32

// SystemID is a cluster's system identifier, made by initdb.
type SystemID uint64

// String is the decimal form of IDENTIFY_SYSTEM.
func (s SystemID) String() string { return strconv.FormatUint(uint64(s), 10) }

// ParseSystemID reads the decimal form.
func ParseSystemID(s string) (SystemID, error) {
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("invalid system identifier %q: %w", s, err)
	}
	return SystemID(v), nil
}

// TenantID returns the tenant ID that stands for this cluster when none was
// chosen: the system identifier as 32 hexadecimal digits.
func (s SystemID) TenantID() TenantID {
	var t TenantID
	for i := range 8 {
		t[15-i] = byte(s >> (8 * i))
	}
	return t
}

// TenantID names one origin cluster together with its branches.
type TenantID [16]byte

// TimelineID names one branch of a tenant. It is walhaven's identifier and is
// unrelated to PostgreSQL's timeline number, the TLI.
type TimelineID [16]byte

// ParseTenantID reads 32 hexadecimal digits of either case.
func ParseTenantID(s string) (TenantID, error) {
	id, err := parseID(s)
	if err != nil {
		return TenantID{}, fmt.Errorf("invalid tenant ID %q: %w", s, err)
	}
	return id, nil
}

// ParseTimelineID reads 32 hexadecimal digits of either case.
func ParseTimelineID(s string) (TimelineID, error) {
	id, err := parseID(s)
	if err != nil {
		return TimelineID{}, fmt.Errorf("invalid timeline ID %q: %w", s, err)
	}
	return id, nil
}

func parseID(s string) (id [16]byte, err error) {
	if len(s) != 32 {
		return id, fmt.Errorf("expected 32 hexadecimal digits, got %d characters", len(s))
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return id, err
	}
	return id, nil
}

// String is 32 lower-case hexadecimal digits.
func (t TenantID) String() string { return hex.EncodeToString(t[:]) }

// IsZero says that no tenant was chosen.
func (t TenantID) IsZero() bool { return t == TenantID{} }

// MarshalText makes the ID a string in JSON and TOML.
func (t TenantID) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (t *TenantID) UnmarshalText(text []byte) (err error) {
	*t, err = ParseTenantID(string(text))
	return err
}

// String is 32 lower-case hexadecimal digits.
func (t TimelineID) String() string { return hex.EncodeToString(t[:]) }

// IsZero says that no timeline was chosen.
func (t TimelineID) IsZero() bool { return t == TimelineID{} }

// MarshalText makes the ID a string in JSON and TOML.
func (t TimelineID) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (t *TimelineID) UnmarshalText(text []byte) (err error) {
	*t, err = ParseTimelineID(string(text))
	return err
}

// TTID names a timeline everywhere: tenant and timeline together.
type TTID struct {
	Tenant   TenantID
	Timeline TimelineID
}

// String is tenant and timeline separated by a slash.
func (t TTID) String() string { return t.Tenant.String() + "/" + t.Timeline.String() }

// Timestamp is PostgreSQL's TimestampTz: microseconds since 2000-01-01 UTC.
type Timestamp int64

// epochOffset is the distance between the Unix and the PostgreSQL epoch in
// microseconds.
const epochOffset = 946_684_800_000_000

// TimestampOf converts a time.
func TimestampOf(t time.Time) Timestamp { return Timestamp(t.UnixMicro() - epochOffset) }

// Time converts back, in UTC.
func (t Timestamp) Time() time.Time { return time.UnixMicro(int64(t) + epochOffset).UTC() }
