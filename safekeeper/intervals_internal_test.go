package safekeeper

import "testing"

func FuzzIntervals(f *testing.F) {
	f.Add(intervalsFileVersion + "\n" + `{"reason":"x","began":"2026-01-01T00:00:00Z","from_lsn":"0/1","to_lsn":"0/0"}` + "\n")
	f.Add(intervalsFileVersion + "\n{}\n")
	f.Add("")
	f.Fuzz(func(_ *testing.T, content string) { _, _ = parseIntervals(content) })
}
