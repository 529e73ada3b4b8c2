package disposable

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/walhaven/walhaven/internal/durablefile"
)

// MarkerName is the marker's name in the data directory.
const MarkerName = "pgsql_tmp.walhaven-disposable"

// maxMarker bounds a marker, in bytes.
const maxMarker = 4096

// ErrCondemned is in the chain of the error about a directory that must not be
// started any more.
var ErrCondemned = errors.New("a server ran here with fsync = off, and what it wrote is not certain to be there")

// Read returns the place that a directory's marker tells of, nil when it has
// none. A marker that cannot be understood is ErrCondemned.
func Read(dir string) (*Place, error) {
	f, err := os.Open(filepath.Join(dir, MarkerName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read marker: %w", err)
	}
	defer f.Close() //nolint:errcheck // Only read.
	b := make([]byte, maxMarker+1)
	n, err := f.Read(b)
	if err != nil && n == 0 {
		return nil, fmt.Errorf("read marker: %w: %w", err, ErrCondemned)
	}
	return decode(b[:n])
}

func decode(b []byte) (*Place, error) {
	p := &Place{}
	if err := json.Unmarshal(b, p); err != nil || len(b) > maxMarker || p.Boot == "" {
		return nil, fmt.Errorf("its marker %s is damaged: %w", MarkerName, ErrCondemned)
	}
	return p, nil
}

// Check says whether dir carries a marker, and refuses (ErrCondemned) a
// directory whose marker is not of this place.
func Check(dir string) (marked bool, err error) {
	then, err := Read(dir)
	if err != nil || then == nil {
		return false, err
	}
	now, err := Here(dir)
	if err != nil {
		return true, err
	}
	if what := then.Differs(now); what != "" {
		return true, fmt.Errorf("%w: %s", ErrCondemned, what)
	}
	return true, nil
}

// Set marks dir, durably, before a server writes into it without fsync. A
// directory whose marker is of another place is refused (ErrCondemned).
func Set(dir string) error {
	if marked, err := Check(dir); marked || err != nil {
		return err
	}
	p, err := Here(dir)
	if err != nil {
		return err
	}
	return Write(dir, p)
}

// Write makes p the marker of dir, whatever it had, for the owner of dir.
func Write(dir string, p Place) error {
	b, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode marker: %w", err)
	}
	return durablefile.ReplaceForOwner(filepath.Join(dir, MarkerName), append(b, '\n'))
}

// Clear writes everything that a stopped server has in its filesystems to disk,
// and then takes the marker away. The caller knows that no server runs. Without a
// marker nothing is done.
func Clear(dir string) error {
	if marked, err := Check(dir); !marked || err != nil {
		return err
	}
	for _, d := range filesystems(dir) {
		if err := syncfs(d); err != nil {
			return fmt.Errorf("write %s to disk: %w", d, err)
		}
	}
	if err := os.Remove(filepath.Join(dir, MarkerName)); err != nil {
		return fmt.Errorf("remove marker: %w", err)
	}
	return durablefile.SyncDir(dir)
}

// filesystems are folders that lie on all filesystems of a server: the data
// directory, its pg_wal and its tablespaces, which may be links.
func filesystems(dir string) []string {
	all := []string{dir, filepath.Join(dir, "pg_wal")}
	spaces, _ := filepath.Glob(filepath.Join(dir, "pg_tblspc", "*")) // The pattern is well-formed.
	return append(all, spaces...)
}

func syncfs(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(d.Fd())), d.Close())
}
