package operator

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/walhaven/walhaven/compute"
	"github.com/walhaven/walhaven/internal/durablefile"
)

// reachableParent is where a cluster goes whose own folder PostgreSQL's account
// cannot enter: it survives a restart of the machine.
const reachableParent = "/var/tmp"

// locate returns the real folder of the cluster that is asked for as dir. Root
// runs PostgreSQL as another user, who cannot enter a clone below /root: then
// dir becomes a link to a folder elsewhere.
func locate(dir string, say func(format string, args ...any)) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("resolve cluster folder: %w", err)
	}
	real, err := filepath.EvalSymlinks(dir)
	switch {
	case err == nil:
		return real, compute.Reachable(real)
	case !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("resolve cluster folder: %w", err)
	case compute.Reachable(dir) == nil:
		return dir, nil
	}
	real, err = os.MkdirTemp(reachableParent, "walhaven-data-")
	if err != nil {
		return "", fmt.Errorf("make cluster folder: %w", err)
	}
	say("PostgreSQL's account cannot enter %s: the cluster is made in %s, and a link to it here", filepath.Dir(dir), real)
	if err := errors.Join(os.Chmod(real, 0o755), os.MkdirAll(filepath.Dir(dir), 0o755), os.Symlink(real, dir)); err != nil {
		return "", fmt.Errorf("make cluster folder: %w", err)
	}
	return real, nil
}

// remove deletes the cluster's folder and the link that named it, if one did.
func (c *Cluster) remove(named string) error {
	if err := os.RemoveAll(c.dir); err != nil {
		return err
	}
	if st, err := os.Lstat(named); err == nil && st.Mode()&fs.ModeSymlink != 0 {
		return os.Remove(named)
	}
	return nil
}

// restoreProgram is the path of walhaven for restore_command: a copy in the
// cluster's folder where PostgreSQL's account cannot enter the program's own.
func (l *local) restoreProgram() (string, error) {
	program := filepath.Join(l.binDir, "walhaven")
	if compute.Reachable(l.binDir) == nil {
		return program, nil
	}
	reachable := filepath.Join(l.dir, "bin", "walhaven")
	code, err := os.ReadFile(program)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(reachable), 0o755)
	}
	if err == nil {
		err = durablefile.Replace(reachable, code, 0o755)
	}
	if err != nil {
		return "", fmt.Errorf("copy walhaven to where PostgreSQL's account can run it: %w", err)
	}
	return reachable, nil
}
