// Package postmaster tells from postmaster.pid which server runs in a data directory,
// if one does. It looks at no other file of the directory.
package postmaster

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/walhaven/walhaven/internal/procstat"
)

// PIDFile is what a server has written about itself into postmaster.pid
// (src/include/utils/pidfile.h). It removes the file when it ends; a crash leaves it.
type PIDFile struct {
	PID        int
	SingleUser bool   // it is one of a single user, which takes no connections
	Started    int64  // in seconds since 1970; 0 = not said yet
	Status     string // starting, ready, standby or stopping; "" = not said yet
}

// maxPIDFile is more than a server writes, in bytes: two of the eight lines are paths.
const maxPIDFile = 16 << 10

// errNoPID is told of a file whose first line no server has finished.
var errNoPID = errors.New("postmaster.pid names no process")

// ReadPIDFile reads the postmaster.pid of a data directory. Where there is none the
// error is [fs.ErrNotExist].
func ReadPIDFile(dir string) (PIDFile, error) {
	file, err := os.Open(filepath.Join(dir, "postmaster.pid"))
	if err != nil {
		return PIDFile{}, err
	}
	defer file.Close() //nolint:errcheck // Only read.
	content, err := io.ReadAll(io.LimitReader(file, maxPIDFile+1))
	if err != nil {
		return PIDFile{}, err
	}
	if len(content) > maxPIDFile {
		return PIDFile{}, fmt.Errorf("read %s: more than %d bytes", file.Name(), maxPIDFile)
	}
	return parsePIDFile(content)
}

func parsePIDFile(content []byte) (f PIDFile, err error) {
	lines := strings.Split(string(content), "\n")
	pid, err := strconv.ParseInt(strings.TrimSpace(lines[0]), 10, 32)
	if err != nil || pid == 0 {
		return f, errNoPID
	}
	f.PID, f.SingleUser = int(max(pid, -pid)), pid < 0
	if len(lines) > 2 {
		f.Started, _ = strconv.ParseInt(strings.TrimSpace(lines[2]), 10, 64)
	}
	if len(lines) > 7 {
		f.Status = strings.TrimSpace(lines[7])
	}
	return f, nil
}

// Running is what the server that runs in a data directory says of itself, nil
// when none does. The error is that postmaster.pid cannot be read.
func Running(dir string) (*PIDFile, error) {
	f, err := ReadPIDFile(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errNoPID):
		return nil, nil
	case err != nil:
		return nil, err
	case !mayRunIn(f.PID, dir):
		return nil, nil
	}
	return &f, nil
}

// PID is the process ID of the server that takes connections in a data
// directory, 0 when none does as far as this user may know.
func PID(dir string) int {
	f, err := Running(dir)
	if err != nil || f == nil || f.SingleUser {
		return 0
	}
	return f.PID
}

// mayRunIn says whether a process runs that can be the server of a data directory,
// whose working directory it is. The file outlives a crash of the machine, after which
// another program has the number; process 1 it can be in a container. Who may not look
// goes by the owner, and where even that is hidden takes it for the server.
func mayRunIn(pid int, dir string) bool {
	p, err := procstat.Find(pid)
	if p.Ended || err != nil && !errors.Is(syscall.Kill(pid, 0), syscall.EPERM) {
		return false // Gone, rather than hidden.
	}
	here, err := os.Stat(dir)
	if err != nil {
		return true
	}
	proc := fmt.Sprintf("/proc/%d", pid)
	if at, err := os.Stat(filepath.Join(proc, "cwd")); err == nil {
		return os.SameFile(at, here)
	}
	process, err := os.Stat(proc)
	return err != nil || owner(process) == owner(here)
}

func owner(info fs.FileInfo) uint32 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Uid
	}
	return 0
}
