package admin

import (
	"context"
	"strings"
)

// helpCommand lists the table, or describes one command column by column.
func helpCommand(t *Table) Command {
	return Command{
		Name: "HELP",
		Args: []Arg{{Name: "command", Optional: true, Words: true, Help: "A command's name."}},
		Help: "List the commands, or describe one.",
		ColumnsFor: func(c *Call) []Column {
			if c.Args["command"] != "" {
				return Text("part", "name", "help")
			}
			return Text("command", "scope", "help")
		},
		Handler: func(_ context.Context, c *Call, emit Emit) error {
			if name := c.Args["command"]; name != "" {
				return t.describe(name, emit)
			}
			for _, c := range t.commands {
				if c.Hidden {
					continue
				}
				if err := emit(c.Usage(), c.Scope, c.Help); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func (t *Table) describe(name string, emit Emit) error {
	for _, c := range t.commands {
		if !strings.EqualFold(c.Name, name) {
			continue
		}
		rows := [][3]string{{"command", c.Usage(), c.Help}, {"scope", c.Scope.String(), ""}}
		for _, a := range c.Args {
			rows = append(rows, [3]string{"argument", a.Name, a.Help})
		}
		for _, o := range c.Options {
			rows = append(rows, [3]string{"option", o.Name, o.Help})
		}
		for _, column := range c.Columns {
			rows = append(rows, [3]string{"column", column.Name, column.Help})
		}
		for _, r := range rows {
			if err := emit(r[0], r[1], r[2]); err != nil {
				return err
			}
		}
		return nil
	}
	return Errorf(codeUndefinedObject, "there is no command %q", strings.ToUpper(name)).
		WithHint("HELP lists the commands.")
}
