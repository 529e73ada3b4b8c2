package computetest

import (
	"os"
	"strings"
	"testing"

	"github.com/walhaven/walhaven/compute"
)

// RunScript runs the statements of a file over one connection, each in a
// transaction of its own unless it begins one. Comments are lines of their own.
func RunScript(t testing.TB, server *compute.Server, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("read script: %v", err)
	}
	conn, err := server.Connect(t.Context(), "")
	if err != nil {
		t.Fatalf("connect for %s: %v", path, err)
	}
	for _, statement := range statements(string(text)) {
		if _, err := conn.Exec(t.Context(), statement).ReadAll(); err != nil {
			t.Fatalf("%s: %v in\n%s", path, err, statement)
		}
	}
	if err := conn.Close(t.Context()); err != nil {
		t.Fatalf("close connection of %s: %v", path, err)
	}
}

// statements splits a script at lines that end in a semicolon outside of dollar
// quotes.
func statements(script string) (all []string) {
	var b strings.Builder
	for line := range strings.Lines(script) {
		if strings.HasPrefix(line, "--") {
			continue
		}
		b.WriteString(line)
		if strings.HasSuffix(line, ";\n") && strings.Count(b.String(), "$$")%2 == 0 {
			all = append(all, b.String())
			b.Reset()
		}
	}
	return all
}
