package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/alecthomas/kong"
)

// ErrHelp is returned by [Parse] when help or the version was asked for and
// printed: the program should end with exit code 0.
var ErrHelp = errors.New("help was printed")

// Common is embedded into each program's configuration.
type Common struct {
	Config  string           `name:"config" placeholder:"FILE" help:"TOML file with settings, one key a flag."`
	Version kong.VersionFlag `name:"version" help:"Print the version and end."`
}

// Options say where a configuration comes from. Program is needed; the rest
// defaults to the process's own.
type Options struct {
	Program     string // As typed: "safekeeper".
	Description string // One sentence for the help.
	Version     string
	Args        []string                         // Without the program's name.
	LookupEnv   func(name string) (string, bool) // Nil: os.LookupEnv.
	Stdout      io.Writer
	Stderr      io.Writer
	Kong        []kong.Option // For what a program needs beyond this.
}

// Parsed is a configuration that was read.
type Parsed struct {
	// Context is kong's: Command() is the chosen subcommand, Run() runs it.
	Context  *kong.Context
	resolver *resolver
}

// Parse fills cfg, a pointer to a struct with kong tags. An error is the
// user's to mend: print it and end with exit code 2.
func Parse(o Options, cfg any) (parsed *Parsed, err error) {
	o = o.withDefaults()
	r := &resolver{program: o.Program, lookup: o.LookupEnv}
	options := append([]kong.Option{
		kong.Name(o.Program), kong.Description(o.Description),
		kong.Vars{"version": o.Program + " " + o.Version},
		kong.Writers(o.Stdout, o.Stderr), kong.Resolvers(r), kong.ValueFormatter(r.help),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		// kong goes on after it printed help; unwinding is the way out.
		kong.Exit(func(int) { panic(ErrHelp) }),
	}, o.Kong...)
	k, err := kong.New(cfg, options...)
	if err != nil {
		return nil, fmt.Errorf("settings of %s: %w", o.Program, err) // A mistake in the struct's tags.
	}
	defer func() {
		switch p := recover(); p {
		case nil:
		case any(ErrHelp):
			parsed, err = nil, ErrHelp
		default:
			panic(p)
		}
	}()
	r.collect(k.Model.Node)
	ctx, err := k.Parse(o.Args)
	if err != nil {
		return nil, err
	}
	return &Parsed{Context: ctx, resolver: r}, nil
}

// MustParse is [Parse] for a main function: it ends the process with exit code
// 0 after help and 2 after an error.
func MustParse(o Options, cfg any) *Parsed {
	parsed, err := Parse(o, cfg)
	switch {
	case err == nil:
		return parsed
	case errors.Is(err, ErrHelp):
		os.Exit(0)
	default:
		fmt.Fprintf(os.Stderr, "%s: ERROR:  %v\nHINT:  %s --help lists what there is.\n", o.Program, err, o.Program)
		os.Exit(2)
	}
	return nil
}

func (o Options) withDefaults() Options {
	if o.Args == nil {
		o.Args = os.Args[1:]
	}
	if o.LookupEnv == nil {
		o.LookupEnv = os.LookupEnv
	}
	if o.Stdout == nil {
		o.Stdout = os.Stdout
	}
	if o.Stderr == nil {
		o.Stderr = os.Stderr
	}
	return o
}

// envName returns the environment variable of a flag.
func envName(program string, flag *kong.Flag) string {
	if env := flag.Tag.Get("env"); env != "" {
		return env
	}
	name := flag.Name
	if program != "walhaven" {
		name = program + "-" + name
	}
	return "WALHAVEN_" + strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(name))
}
