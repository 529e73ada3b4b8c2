package walrecord

// Supported major versions.
const (
	minMajor = 14
	maxMajor = 18
)

// pageMagics is XLOG_PAGE_MAGIC of src/include/access/xlog_internal.h by major
// version, from minMajor on.
var pageMagics = [...]uint16{0xD10D, 0xD110, 0xD113, 0xD116, 0xD118}

// PageMagic returns the magic number of a major version's WAL pages, 0 when
// the version is not supported.
func PageMagic(major int) uint16 {
	if major < minMajor || major > maxMajor {
		return 0
	}
	return pageMagics[major-minMajor]
}

// MajorOfMagic returns the major version whose WAL pages carry magic, 0 when
// none supported does.
func MajorOfMagic(magic uint16) int {
	for i, m := range pageMagics {
		if m == magic {
			return minMajor + i
		}
	}
	return 0
}

// Major returns the major version of a server_version_num such as 150018. A
// bare major version is returned as it is.
func Major(version uint32) int {
	if version < 100 {
		return int(version)
	}
	return int(version / 10000)
}
