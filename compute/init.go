package compute

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"

	"github.com/walhaven/walhaven/wal"
)

// InitOptions describe a new data directory.
type InitOptions struct {
	Install Install
	// DataDir is made by Init; it may exist if it is empty. Its parent gets the
	// log file (DataDir + ".log"), the folder of the Unix socket ("run") and,
	// with a password, DataDir + ".pgpass".
	DataDir string
	// Port on 127.0.0.1; 0 picks a free one, here and again at a start that
	// finds it taken.
	Port int
	// SegmentSize of WAL; 0 means 16 MiB.
	SegmentSize wal.SegmentSize
	// DataChecksums turns on page checksums.
	DataChecksums bool
	// User is the superuser's name; empty means postgres.
	User string
	// Password makes TCP connections authenticate by SCRAM-SHA-256; without one
	// loopback is trusted. The Unix socket always is: its folder is closed to
	// other accounts.
	Password string
	// SocketDir is the folder of the Unix socket, at most 92 bytes; it is made
	// (0700) if it does not exist. Empty: "run" beside DataDir, or a temporary
	// folder where that path is too long.
	SocketDir string
	// Settings are added to ours: loopback only, socket folder, log line prefix.
	Settings map[string]string
	// NoSync skips initdb's fsyncs: for data that may go when the machine
	// crashes before the first checkpoint, such as a test's.
	NoSync bool
}

// Init creates a data directory and returns its server, not started. On failure
// nothing is left behind.
func Init(ctx context.Context, o InitOptions) (_ *Server, err error) {
	if o.DataDir, err = filepath.Abs(o.DataDir); err != nil {
		return nil, fmt.Errorf("resolve the data directory: %w", err)
	}
	if o.SegmentSize == 0 {
		o.SegmentSize = wal.DefaultSegmentSize
	}
	if !o.SegmentSize.Valid() {
		return nil, fmt.Errorf("%d bytes is no size of a WAL segment", uint32(o.SegmentSize))
	}
	if err := Reachable(filepath.Dir(o.DataDir)); err != nil {
		return nil, err
	}
	if err := makeDataDir(o.DataDir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(o.DataDir))
		}
	}()
	if err := runInitdb(ctx, o); err != nil {
		return nil, err
	}
	return configure(o)
}

// configure writes the settings of a fresh data directory.
func configure(o InitOptions) (*Server, error) {
	s := &Server{install: o.Install, dataDir: o.DataDir, autoPort: o.Port == 0, password: o.Password}
	if o.Port == 0 {
		port, err := FreePort()
		if err != nil {
			return nil, err
		}
		o.Port = port
	}
	socketDir, err := o.socketDir()
	if err != nil {
		return nil, err
	}
	s.settings = map[string]string{
		"listen_addresses":        "127.0.0.1",
		"port":                    strconv.Itoa(o.Port),
		"unix_socket_directories": socketDir,
		"unix_socket_permissions": "0700",
		"log_line_prefix":         "%m [%p] %q%a ",
	}
	if o.User != "" && o.User != defaultUser {
		s.settings[userSetting] = o.User
	}
	maps.Copy(s.settings, o.Settings)
	if err := writeSettings(s.dataDir, s.settings); err != nil {
		return nil, err
	}
	return s, s.writePassFile()
}

func (o InitOptions) socketDir() (string, error) {
	if o.SocketDir == "" {
		return chooseSocketDir(filepath.Dir(o.DataDir))
	}
	dir, err := filepath.Abs(o.SocketDir)
	if err != nil {
		return "", fmt.Errorf("resolve the socket's folder: %w", err)
	}
	if !fitsSocket(dir) {
		return "", fmt.Errorf("%s: too long or not writable as a setting for the folder of a Unix socket", dir)
	}
	return dir, ensureSocketDir(dir)
}

func makeDataDir(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("make the data directory's parent: %w", err)
	}
	switch err := os.Mkdir(dir, 0o700); {
	case errors.Is(err, os.ErrExist):
		entries, err := os.ReadDir(dir)
		if err != nil {
			return fmt.Errorf("read %s: %w", dir, err)
		}
		if len(entries) > 0 {
			return fmt.Errorf("%s is not empty", dir)
		}
		if err := os.Chmod(dir, 0o700); err != nil {
			return fmt.Errorf("close %s to others: %w", dir, err)
		}
	case err != nil:
		return fmt.Errorf("make the data directory: %w", err)
	}
	return handOver(dir)
}

func runInitdb(ctx context.Context, o InitOptions) error {
	auth := "trust"
	if o.Password != "" {
		auth = "scram-sha-256"
	}
	user := o.User
	if user == "" {
		user = defaultUser
	}
	args := []string{
		"--pgdata=" + o.DataDir, "--username=" + user, "--encoding=UTF8", "--locale=C",
		"--auth-host=" + auth, "--auth-local=trust",
		"--wal-segsize=" + strconv.Itoa(int(o.SegmentSize>>20)), "--no-instructions",
	}
	switch {
	case o.DataChecksums:
		args = append(args, "--data-checksums")
	case o.Install.Version.Major >= 18: // On by default there.
		args = append(args, "--no-data-checksums")
	}
	if o.NoSync {
		args = append(args, "--no-sync")
	}
	if o.Password != "" {
		// initdb wants the data directory empty, so the file lies beside it.
		pwfile := o.DataDir + ".pwfile"
		if err := writeFile(pwfile, []byte(o.Password+"\n")); err != nil {
			return err
		}
		defer os.Remove(pwfile) // Holds the password of a folder that is 0700 anyway.
		args = append(args, "--pwfile="+pwfile)
	}
	_, err := o.Install.run(ctx, "initdb", args...)
	return err
}
