package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/pageserver"
	"github.com/walhaven/walhaven/safekeeper"
	"github.com/walhaven/walhaven/walproposer"
)

// operations is the page that describes every flag, a section a command and a
// row `| flag | default | meaning |` a flag.
const operations = "../../docs/operations.md"

// commands returns the flags of every command of every program, by the command
// as it is typed: "safekeeper", "walhaven wal get".
func commands(t *testing.T) map[string][]*kong.Flag {
	t.Helper()
	all := map[string][]*kong.Flag{}
	for program, config := range map[string]any{
		"safekeeper": &safekeeper.Config{}, "pageserver": &pageserver.Config{}, "walproposer": &walproposer.Config{}, "walhaven": &cli{},
	} {
		k, err := kong.New(config, kong.Name(program), kong.Vars{"version": ""})
		require.NoError(t, err)
		collect(all, k.Model.Node, program)
	}
	return all
}

func collect(all map[string][]*kong.Flag, n *kong.Node, name string) {
	for _, f := range n.Flags {
		if f.Name != "help" && !f.Hidden {
			all[name] = append(all[name], f)
		}
	}
	for _, child := range n.Children {
		typed := name + " " + child.Name
		if child == n.DefaultCmd {
			typed = name // The flags are typed without the command.
		}
		collect(all, child, typed)
	}
}

func row(f *kong.Flag) string {
	value := ""
	if f.HasDefault && f.Default != "" {
		value = "`" + f.Default + "`"
	}
	flag := "--" + f.Name
	if f.Short != 0 {
		flag = "-" + string(f.Short) + ", " + flag
	}
	return fmt.Sprintf("| `%s` | %s |", flag, value)
}

func TestEachFlagIsDescribedWithItsDefault(t *testing.T) {
	sections := sections(t)
	for command, flags := range commands(t) {
		section, ok := sections[command]
		if !ok {
			t.Errorf("docs/operations.md has no section %q", command)
		}
		for _, f := range flags {
			if want := row(f); !strings.Contains(section, "\n"+want) {
				t.Errorf("docs/operations.md, %s: no row\n%s %s |", command, want, f.Help)
			}
		}
	}
}

func TestOnlyFlagsThatExistAreDescribed(t *testing.T) {
	described := regexp.MustCompile("(?m)^\\| `(?:-[a-z], )?--([a-z0-9-]+)` \\|")
	flags := commands(t)
	for command, section := range sections(t) {
		exists := map[string]bool{}
		for _, f := range flags[command] {
			exists[f.Name] = true
		}
		for _, m := range described.FindAllStringSubmatch(section, -1) {
			if !exists[m[1]] {
				t.Errorf("docs/operations.md describes --%s for %s, which has no such flag", m[1], command)
			}
		}
	}
}

// Flags in running text and examples, too: of some program of ours.
func TestOnlyFlagsThatExistAreMentioned(t *testing.T) {
	exists := map[string]bool{"help": true}
	for _, flags := range commands(t) {
		for _, f := range flags {
			exists[f.Name] = true
			if f.Tag.Negatable != "" {
				exists["no-"+f.Name] = true
			}
		}
	}
	mention := regexp.MustCompile(`(?:^|[\s\x60(])--([a-z][a-z0-9-]*)`)
	for _, page := range []string{operations, "../../docs/security.md", "../../docs/failures.md", "../../README.md"} {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, m := range mention.FindAllStringSubmatch(string(text), -1) {
			if !exists[m[1]] {
				t.Errorf("%s mentions --%s, which no program has", page, m[1])
			}
		}
	}
}

// sections returns the parts of the page by their heading.
func sections(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(operations)
	require.NoError(t, err)
	out := map[string]string{}
	for _, part := range strings.Split(string(text), "\n### ")[1:] {
		heading, body, _ := strings.Cut(part, "\n")
		body, _, _ = strings.Cut(body, "\n## ")
		out[strings.Trim(heading, "`")] = "\n" + body
	}
	return out
}
