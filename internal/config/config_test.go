package config_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/internal/config"
)

type settings struct {
	config.Common
	ID       int           `name:"id" required:"" help:"Number of this node."`
	DataDir  string        `name:"data-dir" default:"/var/lib/x" help:"Where the data is."`
	Peers    []string      `name:"peers" help:"Addresses."`
	Keep     config.Bytes  `name:"keep" default:"10GiB" help:"How much is kept."`
	Wait     time.Duration `name:"wait" default:"5s" help:"How long to wait."`
	Loud     bool          `name:"loud" help:"Say more."`
	Password string        `name:"password" secret:"" help:"Password."`
}

func parse(t *testing.T, env map[string]string, args ...string) (settings, *config.Parsed, error) {
	t.Helper()
	var cfg settings
	if args == nil {
		args = []string{}
	}
	parsed, err := config.Parse(config.Options{
		Program: "safekeeper", Version: "v1", Args: args, Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{},
		LookupEnv: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
	}, &cfg)
	return cfg, parsed, err
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestPrecedence(t *testing.T) {
	file := write(t, "id = 1\ndata-dir = 'file'\nkeep = 4096\npeers = ['a,b', 'c']\nloud = true\nwait = '1m'\n")
	env := map[string]string{"WALHAVEN_SAFEKEEPER_CONFIG": file}

	cfg, parsed, err := parse(t, env)
	require.NoError(t, err)
	require.Equal(t, 1, cfg.ID)
	require.Equal(t, "file", cfg.DataDir)
	require.Equal(t, config.Bytes(4096), cfg.Keep)
	require.Equal(t, []string{"a,b", "c"}, cfg.Peers)
	require.True(t, cfg.Loud)
	require.Equal(t, time.Minute, cfg.Wait)
	row, ok := parsed.Row("data_dir")
	require.True(t, ok)
	require.Equal(t, config.Row{
		Name: "data-dir", Value: "file", Default: "/var/lib/x", Source: config.FromFile,
		Env: "WALHAVEN_SAFEKEEPER_DATA_DIR", Description: "Where the data is.",
	}, row)

	env["WALHAVEN_SAFEKEEPER_DATA_DIR"] = "env"
	env["WALHAVEN_SAFEKEEPER_PEERS"] = "x,y"
	cfg, parsed, err = parse(t, env, "--id=7")
	require.NoError(t, err)
	require.Equal(t, 7, cfg.ID)
	require.Equal(t, "env", cfg.DataDir)
	require.Equal(t, []string{"x", "y"}, cfg.Peers)
	row, _ = parsed.Row("data-dir")
	require.Equal(t, config.FromEnvironment, row.Source)
	row, _ = parsed.Row("id")
	require.Equal(t, config.FromFlag, row.Source)

	cfg, _, err = parse(t, env, "--data-dir=flag", "--config="+write(t, "id = 2"))
	require.NoError(t, err)
	require.Equal(t, "flag", cfg.DataDir)
	require.Equal(t, 2, cfg.ID, "--config over its variable")
	require.Equal(t, 10<<30, int(cfg.Keep), "default")
}

func TestErrorsNameThePlaceAndTheWayOut(t *testing.T) {
	for text, want := range map[string]string{
		"id = 1\ndata_dir = 'x'": `:2: unknown key "data_dir": did you mean "data-dir"?`,
		"peer = 'x'":             `:1: unknown key "peer": did you mean "peers"?`,
		"version = true":         "unknown key",
		"config = 'again'":       "unknown key",
		"id = ":                  ":1:",
		"peers = [['a']]":        "a list in a list",
		"wait = 1979-05-27":      `key "wait": want a string`,
		"keep = 'lots'":          `"lots" is no size`,
	} {
		_, _, err := parse(t, nil, "--id=1", "--config="+write(t, text))
		require.ErrorContains(t, err, want, text)
	}
	_, _, err := parse(t, nil)
	require.ErrorContains(t, err, "missing flags: --id")
	_, _, err = parse(t, nil, "--id=1", "--data-dri=x")
	require.ErrorContains(t, err, `did you mean "--data-dir"`)
	_, _, err = parse(t, nil, "--id=1", "--config=/does/not/exist")
	require.ErrorContains(t, err, "no such file")
}

func TestSecrets(t *testing.T) {
	file := write(t, "s3cret\n")
	cfg, parsed, err := parse(t, map[string]string{"WALHAVEN_SAFEKEEPER_PASSWORD_FILE": file}, "--id=1")
	require.NoError(t, err)
	require.Equal(t, "s3cret", cfg.Password)
	for _, row := range parsed.Rows() {
		require.NotContains(t, row.Value, "s3cret")
	}
	row, _ := parsed.Row("password")
	require.Equal(t, "********", row.Value)

	_, _, err = parse(t, map[string]string{
		"WALHAVEN_SAFEKEEPER_PASSWORD_FILE": file, "WALHAVEN_SAFEKEEPER_PASSWORD": "x",
	}, "--id=1")
	require.ErrorContains(t, err, "both WALHAVEN_SAFEKEEPER_PASSWORD and WALHAVEN_SAFEKEEPER_PASSWORD_FILE are set")

	// Only secrets are read from files.
	cfg, _, err = parse(t, map[string]string{"WALHAVEN_SAFEKEEPER_DATA_DIR_FILE": file}, "--id=1")
	require.NoError(t, err)
	require.Equal(t, "/var/lib/x", cfg.DataDir)
}

func TestHelpAndVersion(t *testing.T) {
	for flag, want := range map[string]string{
		"--help":    "($WALHAVEN_SAFEKEEPER_DATA_DIR).",
		"--version": "safekeeper v1",
	} {
		var cfg settings
		var out bytes.Buffer
		_, err := config.Parse(config.Options{
			Program: "safekeeper", Version: "v1", Args: []string{flag}, Stdout: &out, Stderr: &out,
		}, &cfg)
		require.ErrorIs(t, err, config.ErrHelp)
		require.Contains(t, out.String(), want)
	}
}

type tool struct {
	config.Common
	Cluster string `name:"cluster" help:"Cluster file."`
	Up      struct {
		Port int `name:"port" default:"1" help:"Port."`
	} `cmd:"" help:"Start."`
	Down struct {
		Purge bool `name:"purge" help:"Delete."`
	} `cmd:"" help:"Stop."`
}

func TestSubcommandsShareOneNamespace(t *testing.T) {
	var cfg tool
	parsed, err := config.Parse(config.Options{
		Program: "walhaven", Args: []string{"up", "--config", write(t, "cluster='c'\nport=5\npurge=true")},
		LookupEnv: func(name string) (string, bool) { return "e", name == "WALHAVEN_CLUSTER" },
	}, &cfg)
	require.NoError(t, err)
	require.Equal(t, "up", parsed.Context.Command())
	require.Equal(t, 5, cfg.Up.Port)
	require.Equal(t, "e", cfg.Cluster)
	require.False(t, cfg.Down.Purge, "a setting of another command is known but not applied")
	var names []string
	for _, row := range parsed.Rows() {
		names = append(names, row.Name)
	}
	require.Equal(t, []string{"config", "cluster", "port"}, names)
}

func TestBytes(t *testing.T) {
	for text, want := range map[string]config.Bytes{
		"0": 0, "1": 1, "1B": 1, "64MiB": 64 << 20, "16MB": 16 << 20, "1 KiB": 1024, "8kB": 8192, "2TiB": 2 << 40,
	} {
		var b config.Bytes
		require.NoError(t, b.UnmarshalText([]byte(text)), text)
		require.Equal(t, want, b, text)
		var again config.Bytes
		require.NoError(t, again.UnmarshalText([]byte(b.String())), b.String())
		require.Equal(t, b, again)
	}
	for _, text := range []string{"", "x", "-1", "1.5GiB", "9999999999TiB", "MiB"} {
		var b config.Bytes
		require.Error(t, b.UnmarshalText([]byte(text)), text)
	}
	require.Equal(t, "64MiB", config.Bytes(64<<20).String())
}
