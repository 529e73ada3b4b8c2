package compute

import (
	"fmt"
	"regexp"
	"strconv"
)

// Supported majors of PostgreSQL, both ends included.
const (
	MinMajor = 14
	MaxMajor = 18
)

// Version is a PostgreSQL version such as 17.10.
type Version struct {
	Major int
	Minor int
	// Text is the version as the binary printed it, e.g.
	// "15.18 (Debian 15.18-0+deb12u1)" or "19beta1".
	Text string
}

// Num is the version as PostgreSQL's server_version_num: 170010 for 17.10.
func (v Version) Num() uint32 { return uint32(v.Major)*10000 + uint32(v.Minor) }

// String returns major.minor.
func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// versionLine is what `postgres --version` prints: "postgres (PostgreSQL) 17.10"
// with an optional suffix; before a release the minor is a word ("18rc1").
var versionLine = regexp.MustCompile(`^\S+ \(PostgreSQL\) ((\d{1,4})(?:\.(\d{1,4})|[a-z]+\d*).*?)\s*$`)

// ParseVersion reads the line that `postgres --version` or another tool of
// PostgreSQL prints.
func ParseVersion(line string) (Version, error) {
	m := versionLine.FindStringSubmatch(line)
	if m == nil {
		return Version{}, fmt.Errorf("%q is no version line of PostgreSQL 10 or later", line)
	}
	v := Version{Text: m[1]}
	v.Major, _ = strconv.Atoi(m[2]) // At most four digits: cannot fail.
	if m[3] != "" {
		v.Minor, _ = strconv.Atoi(m[3])
	}
	return v, nil
}
