package admin

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Setting is one row of SHOW ALL.
type Setting struct{ Name, Value, Help string }

// SettingsFunc lists the settings that SHOW knows for a call's target. Those
// named database, user and pid also answer current_database() and its like.
type SettingsFunc func(ctx context.Context, target any) ([]Setting, error)

// Standard returns the commands that clients expect of any server: SHOW of a
// setting, SHOW ALL, and the functions that drivers, poolers and health checks
// call. All of them answer from settings.
func Standard(settings SettingsFunc) []Command {
	commands := []Command{
		{
			Name: "SHOW", Args: []Arg{{Name: "setting", Help: "A setting's name."}}, Tag: "SHOW",
			Help: "Show one setting.",
			ColumnsFor: func(c *Call) []Column {
				return Text(lower(c.Args["setting"]))
			},
			Handler: func(ctx context.Context, c *Call, emit Emit) error {
				value, err := lookup(ctx, settings, c, c.Args["setting"])
				if err != nil {
					return err
				}
				return emit(value)
			},
		},
		{
			Name: "SHOW ALL", Tag: "SHOW", Columns: Text("name", "setting", "description"),
			Help: "Show all settings.",
			Handler: func(ctx context.Context, c *Call, emit Emit) error {
				list, err := settings(ctx, c.Target)
				if err != nil {
					return err
				}
				slices.SortFunc(list, func(a, b Setting) int { return strings.Compare(a.Name, b.Name) })
				for _, s := range list {
					if err := emit(s.Name, s.Value, s.Help); err != nil {
						return err
					}
				}
				return nil
			},
		},
		function("SELECT version()", "version", func(ctx context.Context, c *Call) (any, error) {
			version, err := lookup(ctx, settings, c, "server_version")
			return fmt.Sprintf("PostgreSQL %s, served by walhaven", version), err
		}),
		function("SELECT pg_is_in_recovery()", "pg_is_in_recovery", func(ctx context.Context, c *Call) (any, error) {
			value, err := lookup(ctx, settings, c, "in_hot_standby")
			return value == "on", err
		}),
		function("SELECT 1", "?column?", constant(1)),
		function("SELECT current_schema()", "current_schema", constant("public")),
		function("SELECT pg_advisory_unlock_all()", "pg_advisory_unlock_all", constant("")), // connection pools
		function("SHOW TRANSACTION ISOLATION LEVEL", "transaction_isolation", constant("read committed")),
		function("SHOW transaction_isolation", "transaction_isolation", constant("read committed")),
		function("SHOW transaction_read_only", "transaction_read_only", constant("off")),
		function("SHOW search_path", "search_path", constant("")),
	}
	for name, setting := range map[string]string{
		"SELECT current_database()": "database", "SELECT current_user": "user", "SELECT session_user": "user",
		"SELECT pg_backend_pid()": "pid",
	} {
		column := strings.TrimSuffix(strings.TrimPrefix(name, "SELECT "), "()")
		commands = append(commands, function(name, column, func(ctx context.Context, c *Call) (any, error) {
			return lookup(ctx, settings, c, setting)
		}))
	}
	return commands
}

func constant(v any) func(context.Context, *Call) (any, error) {
	return func(context.Context, *Call) (any, error) { return v, nil }
}

// function is a hidden command with one value.
func function(name, column string, value func(context.Context, *Call) (any, error)) Command {
	c := Command{
		Name: name, Columns: Text(column), Hidden: true,
		Handler: func(ctx context.Context, c *Call, emit Emit) error {
			v, err := value(ctx, c)
			if err != nil {
				return err
			}
			return emit(v)
		},
	}
	if strings.HasPrefix(name, "SHOW") {
		c.Tag = "SHOW"
	}
	return c
}

func lookup(ctx context.Context, settings SettingsFunc, c *Call, name string) (string, error) {
	list, err := settings(ctx, c.Target)
	if err != nil {
		return "", err
	}
	// A flag's name may be written as PostgreSQL writes names of settings.
	plain := strings.NewReplacer("-", "_")
	for _, s := range list {
		if strings.EqualFold(plain.Replace(s.Name), plain.Replace(name)) {
			return s.Value, nil
		}
	}
	return "", Errorf(codeUndefinedObject, "unrecognized configuration parameter %q", name)
}
