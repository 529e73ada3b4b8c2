package config

import (
	"fmt"
	"os"
	"strings"

	"github.com/alecthomas/kong"
)

// Source is where a setting's value came from.
type Source string

// The sources, from the strongest to the weakest.
const (
	FromFlag        Source = "flag"
	FromEnvironment Source = "environment"
	FromFile        Source = "file"
	FromDefault     Source = "default"
)

// resolver gives kong the values of flags that were not typed.
type resolver struct {
	program string
	lookup  func(string) (string, bool)
	flags   []*kong.Flag      // Of all commands, one a name.
	envs    map[string]string // Variable to the flag that owns it.
	file    map[string]any
	sources map[string]Source // By flag name.
}

// collect finds the flags of all commands below node.
func (r *resolver) collect(node *kong.Node) {
	r.envs = map[string]string{}
	r.sources = map[string]Source{}
	seen := map[string]bool{}
	var walk func(*kong.Node)
	walk = func(n *kong.Node) {
		for _, flag := range n.Flags {
			if settable(flag) && !seen[flag.Name] {
				seen[flag.Name] = true
				r.flags = append(r.flags, flag)
				r.envs[envName(r.program, flag)] = flag.Name
			}
		}
		for _, child := range n.Children {
			walk(child)
		}
	}
	walk(node)
}

// settable leaves out flags that are commands in disguise.
func settable(flag *kong.Flag) bool {
	return flag.Name != "help" && flag.Name != "version"
}

func secret(flag *kong.Flag) bool { return flag.Tag.Has("secret") }

// Validate implements kong.Resolver.
func (r *resolver) Validate(*kong.Application) error { return nil }

// Resolve implements kong.Resolver: it is asked for flags that were not typed.
func (r *resolver) Resolve(ctx *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if !settable(flag) {
		return nil, nil
	}
	value, found, err := r.fromEnvironment(flag)
	if err != nil {
		return nil, err
	}
	if found {
		r.sources[flag.Name] = FromEnvironment
		return value, nil
	}
	if flag.Name == "config" {
		return nil, nil
	}
	if err := r.loadFile(ctx); err != nil {
		return nil, err
	}
	if value, found := r.file[flag.Name]; found {
		r.sources[flag.Name] = FromFile
		return value, nil
	}
	return nil, nil
}

// fromEnvironment reads the flag's variable, or for a secret the file that the
// variable with _FILE names.
func (r *resolver) fromEnvironment(flag *kong.Flag) (string, bool, error) {
	name := envName(r.program, flag)
	value, found := r.lookup(name)
	fileName := name + "_FILE"
	path, inFile := r.lookup(fileName)
	if _, taken := r.envs[fileName]; taken || !secret(flag) {
		inFile = false // The variable belongs to a flag of that name, or to nobody.
	}
	switch {
	case found && inFile:
		return "", false, fmt.Errorf("both %s and %s are set", name, fileName)
	case inFile:
		text, err := os.ReadFile(path)
		if err != nil {
			return "", false, fmt.Errorf("%s: %w", fileName, err)
		}
		return strings.TrimRight(string(text), "\r\n"), true, nil
	}
	return value, found, nil
}

// loadFile reads the file that --config names, once.
func (r *resolver) loadFile(ctx *kong.Context) error {
	if r.file != nil {
		return nil
	}
	r.file = map[string]any{}
	path := r.configPath(ctx)
	if path == "" {
		return nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	file, err := parseFile(path, text, r.keys())
	if err != nil {
		return err
	}
	r.file = file
	return nil
}

func (r *resolver) configPath(ctx *kong.Context) string {
	for _, flag := range r.flags {
		if flag.Name != "config" {
			continue
		}
		for _, p := range ctx.Path {
			if p.Flag == flag && !p.Resolved {
				path, _ := ctx.FlagValue(flag).(string)
				return path
			}
		}
		path, _ := r.lookup(envName(r.program, flag))
		return path
	}
	return ""
}

// keys are the names that a file may use.
func (r *resolver) keys() []string {
	var keys []string
	for _, flag := range r.flags {
		if flag.Name != "config" {
			keys = append(keys, flag.Name)
		}
	}
	return keys
}

// help adds the environment variable to a flag's help.
func (r *resolver) help(value *kong.Value) string {
	if value.Flag == nil || !settable(value.Flag) {
		return value.Help
	}
	return strings.TrimSuffix(value.Help, ".") + " ($" + envName(r.program, value.Flag) + ")."
}
