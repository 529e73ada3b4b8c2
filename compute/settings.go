package compute

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// settingsFile is the file in the data directory that holds our settings; it is
// included from postgresql.conf, so that postgresql.auto.conf still wins.
const settingsFile = "walhaven.conf"

const settingsHeader = "# Written by walhaven. Lines are name = 'value', one setting a line.\n"

// formatSettings renders settings in the order of their names.
func formatSettings(settings map[string]string) (string, error) {
	var b strings.Builder
	b.WriteString(settingsHeader)
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		value := settings[name]
		if !settingName(name) || strings.ContainsAny(value, "\n\r\x00") {
			return "", fmt.Errorf("setting %q = %q cannot be written to a settings file", name, value)
		}
		fmt.Fprintf(&b, "%s = '%s'\n", name, settingEscaper.Replace(value))
	}
	return b.String(), nil
}

var (
	settingEscaper   = strings.NewReplacer(`\`, `\\`, `'`, `''`)
	settingUnescaper = strings.NewReplacer(`\\`, `\`, `''`, `'`)
)

func settingName(name string) bool {
	return name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.") == ""
}

// parseSettings reads what formatSettings wrote; it is no reader for
// postgresql.conf in general.
func parseSettings(text string) (map[string]string, error) {
	settings := map[string]string{}
	lines := bufio.NewScanner(strings.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, found := strings.Cut(line, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !found || !settingName(name) || len(value) < 2 || value[0] != '\'' || value[len(value)-1] != '\'' {
			return nil, fmt.Errorf("line %d: %q is not of the form name = 'value'", n, line)
		}
		settings[name] = settingUnescaper.Replace(value[1 : len(value)-1])
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	return settings, nil
}

// readSettings returns the settings that we wrote into dataDir; none is no error.
func readSettings(dataDir string) (map[string]string, error) {
	path := filepath.Join(dataDir, settingsFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]string{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	settings, err := parseSettings(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return settings, nil
}

// writeSettings replaces our settings in dataDir and makes sure that
// postgresql.conf includes them.
func writeSettings(dataDir string, settings map[string]string) error {
	text, err := formatSettings(settings)
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dataDir, settingsFile), []byte(text)); err != nil {
		return err
	}
	path := filepath.Join(dataDir, "postgresql.conf")
	conf, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read postgresql.conf: %w", err)
	}
	include := "include_if_exists = '" + settingsFile + "'\n"
	if strings.Contains(string(conf), include) {
		return nil
	}
	return writeFile(path, append(conf, "\n"+include...))
}

// writeFile replaces path by rename, so that a server that is reading its
// settings sees the old or the new text; PostgreSQL's account owns it.
func writeFile(path string, content []byte) error {
	next := path + ".walhaven-new"
	if err := os.WriteFile(next, content, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	if err := handOver(next); err != nil {
		return err
	}
	if err := os.Rename(next, path); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}
