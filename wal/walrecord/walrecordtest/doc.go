// Package walrecordtest makes well-formed WAL for tests: pages, records that
// cross them, switches of segment and timeline, and records cut short by a
// crash, at exactly the places a test asks for.
//
// It shares no code with the parsers of package walrecord, so that the two check
// each other. It belongs in tests alone and panics on
// misuse.
package walrecordtest
