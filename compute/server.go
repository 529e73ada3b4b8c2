package compute

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

const (
	defaultUser = "postgres"
	// userSetting keeps the superuser's name among the settings; PostgreSQL
	// takes any name with a dot in it.
	userSetting = "walhaven.superuser"
)

// Errors of a Server's methods.
var (
	ErrRunning    = errors.New("PostgreSQL is running")
	ErrNotRunning = errors.New("PostgreSQL is not running")
)

// Server is one data directory and, while it runs, its PostgreSQL. Its methods
// may be called from several goroutines.
type Server struct {
	install  Install
	dataDir  string
	password string
	autoPort bool // The port is ours to change when it is taken.

	mu       sync.Mutex
	settings map[string]string // What settingsFile holds.
	process  *process          // What we started; nil before the first start.
}

// OpenOptions describe a data directory that exists.
type OpenOptions struct {
	Install Install
	DataDir string // Absolute or relative to the working directory.
	// Password of the superuser, for our own connections and tools.
	Password string
	// NewPort replaces port and socket folder, as a copy of another server's
	// data directory needs it.
	NewPort bool
	// Settings are added to those that the directory has from Init or Set.
	Settings map[string]string
}

// Open returns the server of a data directory made by [Init], or copied from
// one, whether it runs or not.
func Open(o OpenOptions) (*Server, error) {
	dir, err := filepath.Abs(o.DataDir)
	if err != nil {
		return nil, fmt.Errorf("resolve the data directory: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "PG_VERSION")); err != nil {
		return nil, fmt.Errorf("open data directory: %w", err)
	}
	if err := Reachable(dir); err != nil {
		return nil, err
	}
	s := &Server{install: o.Install, dataDir: dir, password: o.Password, autoPort: o.NewPort}
	if s.settings, err = readSettings(dir); err != nil {
		return nil, err
	}
	if o.NewPort || s.settings["port"] == "" {
		if err := s.changePort(); err != nil {
			return nil, err
		}
		if s.settings["unix_socket_directories"], err = chooseSocketDir(filepath.Dir(dir)); err != nil {
			return nil, err
		}
	}
	maps.Copy(s.settings, o.Settings)
	if o.NewPort || len(o.Settings) > 0 {
		if err := writeSettings(dir, s.settings); err != nil {
			return nil, err
		}
	}
	return s, s.writePassFile()
}

// changePort picks another port; the caller writes the settings.
func (s *Server) changePort() error {
	port, err := FreePort()
	if err != nil {
		return err
	}
	s.settings["listen_addresses"] = "127.0.0.1"
	s.settings["port"] = strconv.Itoa(port)
	return nil
}

// Install returns the binaries that the server runs from.
func (s *Server) Install() Install { return s.install }

// DataDir returns the absolute path of the data directory.
func (s *Server) DataDir() string { return s.dataDir }

// LogFile returns the path of the file that the server's log goes to.
func (s *Server) LogFile() string { return LogFile(s.dataDir) }

// LogFile returns the path of the file that the log of a server which is started here
// in dataDir goes to.
func LogFile(dataDir string) string { return dataDir + ".log" }

// Port returns the TCP port on 127.0.0.1.
func (s *Server) Port() int {
	port, _ := strconv.Atoi(s.Setting("port")) // We wrote the number.
	return port
}

// Addr returns host:port.
func (s *Server) Addr() string { return "127.0.0.1:" + s.Setting("port") }

// SocketDir returns the folder of the Unix socket, closed to other accounts.
func (s *Server) SocketDir() string { return s.Setting("unix_socket_directories") }

// User returns the superuser's name.
func (s *Server) User() string {
	if user := s.Setting(userSetting); user != "" {
		return user
	}
	return defaultUser
}

// Setting returns what our settings file says of name; empty where PostgreSQL's
// default holds.
func (s *Server) Setting(name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settings[name]
}

// Conninfo returns a libpq connection string for the superuser over TCP. The
// password is not in it: it names the pgpass file that holds it.
func (s *Server) Conninfo() string {
	return s.conninfo("127.0.0.1", "postgres")
}

func (s *Server) conninfo(host, dbname string) string {
	parts := []string{"host=" + quoteConninfo(host), "port=" + s.Setting("port"), "user=" + quoteConninfo(s.User()), "dbname=" + quoteConninfo(dbname)}
	if s.password != "" {
		parts = append(parts, "passfile="+quoteConninfo(s.PassFile()))
	}
	return strings.Join(parts, " ")
}

// PassFile returns the path of the pgpass file (mode 0600) that exists when the
// server has a password.
func (s *Server) PassFile() string { return s.dataDir + ".pgpass" }

func (s *Server) writePassFile() error {
	if s.password == "" {
		return nil
	}
	line := "*:*:*:" + pgpassEscaper.Replace(s.User()) + ":" + pgpassEscaper.Replace(s.password) + "\n"
	if err := os.WriteFile(s.PassFile(), []byte(line), 0o600); err != nil {
		return fmt.Errorf("write the password file: %w", err)
	}
	return nil
}

var pgpassEscaper = strings.NewReplacer(`\`, `\\`, `:`, `\:`)

// quoteConninfo quotes a value of a connection string where it must be.
func quoteConninfo(value string) string {
	if value != "" && !strings.ContainsAny(value, ` '\`) {
		return value
	}
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
}

// maxSocketDir leaves room for "/.s.PGSQL.65535" in the 107 bytes of a Unix
// socket's address.
const maxSocketDir = 107 - len("/.s.PGSQL.65535")

// chooseSocketDir returns parent/run, or a new folder among the temporary ones
// where that would make the socket's address too long.
func chooseSocketDir(parent string) (string, error) {
	dir := filepath.Join(parent, "run")
	if fitsSocket(dir) {
		return dir, ensureSocketDir(dir)
	}
	dir, err := os.MkdirTemp("", "walhaven-run-")
	if err != nil {
		return "", fmt.Errorf("make a folder for the socket: %w", err)
	}
	return dir, handOver(dir)
}

func fitsSocket(dir string) bool {
	return len(dir) <= maxSocketDir && !strings.ContainsAny(dir, `,"`)
}

// ensureSocketDir makes dir if it is not there; only then it is handed over.
func ensureSocketDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("make a folder for the socket: %w", err)
	}
	return handOver(dir)
}
