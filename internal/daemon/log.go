package daemon

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// LogConfig is embedded into each program's configuration.
type LogConfig struct {
	LogLevel  string `name:"log-level" default:"info" enum:"debug,info,warn,error" help:"Lowest level that is logged: ${enum}."`
	LogFormat string `name:"log-format" default:"logfmt" enum:"logfmt,json" help:"Form of the log: ${enum}."`
}

// NewLogger returns a logger that writes to w, one line a record, as c says.
// Empty fields count as their defaults.
func (c LogConfig) NewLogger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if c.LogLevel != "" {
		if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
			return nil, fmt.Errorf("log level %q: want debug, info, warn or error", c.LogLevel)
		}
	}
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: lowerLevel}
	switch c.LogFormat {
	case "", "logfmt":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	default:
		return nil, fmt.Errorf("log format %q: want logfmt or json", c.LogFormat)
	}
}

// lowerLevel writes levels as the flag takes them.
func lowerLevel(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.LevelKey {
		if level, ok := a.Value.Any().(slog.Level); ok {
			a.Value = slog.StringValue(strings.ToLower(level.String()))
		}
	}
	return a
}
