package datadir

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// IdentityFile is the name of the file that holds the identity.
const IdentityFile = "walhaven.node"

const identityVersion = "1"

// Identity is what a data directory says about itself.
type Identity struct {
	Program     string   // the program that owns the directory, like "safekeeper"
	ID          uint64   // node ID, never 0
	Incarnation [16]byte // random, made with the directory
}

// IncarnationHex is the text form of the incarnation: 32 hexadecimal digits.
func (i Identity) IncarnationHex() string { return hex.EncodeToString(i.Incarnation[:]) }

// format renders the identity as the lines of its file.
func (i Identity) format() string {
	return fmt.Sprintf("version %s\nprogram %s\nid %d\nincarnation %s\n",
		identityVersion, i.Program, i.ID, i.IncarnationHex())
}

func parseIdentity(content string) (Identity, error) {
	fields := make(map[string]string, 4)
	for _, line := range strings.Split(strings.TrimSuffix(content, "\n"), "\n") {
		key, value, ok := strings.Cut(line, " ")
		if _, twice := fields[key]; !ok || twice {
			return Identity{}, fmt.Errorf("unexpected line %q", line)
		}
		fields[key] = value
	}
	if v := fields["version"]; v != identityVersion {
		return Identity{}, fmt.Errorf("format version %q is not known to this program; use the one that wrote it", v)
	}
	id, err := strconv.ParseUint(fields["id"], 10, 64)
	if err != nil || id == 0 {
		return Identity{}, fmt.Errorf("invalid node ID %q", fields["id"])
	}
	out := Identity{Program: fields["program"], ID: id}
	raw, err := hex.DecodeString(fields["incarnation"])
	if err != nil || len(raw) != len(out.Incarnation) {
		return Identity{}, fmt.Errorf("invalid incarnation %q", fields["incarnation"])
	}
	copy(out.Incarnation[:], raw)
	return out, nil
}

// loadOrFound reads the identity of dir or, when dir holds nothing yet, makes
// and persists one. A directory with content but without identity is refused:
// somebody lost the file, and a new incarnation would hide that.
func loadOrFound(fs vfs.FS, dir, program string, id uint64) (Identity, error) {
	content, err := ReadSealed(fs, dir, IdentityFile)
	switch {
	case err == nil:
		// Whoever made it may have been killed before its name was durable.
		if err := SyncDir(fs, dir); err != nil {
			return Identity{}, err
		}
		return checkIdentity(dir, content, program, id)
	case !errors.Is(err, os.ErrNotExist):
		return Identity{}, err
	}
	if err := refuseForeign(fs, dir); err != nil {
		return Identity{}, err
	}
	if id == 0 {
		return Identity{}, errors.New("a new data directory needs a node ID other than 0")
	}
	out := Identity{Program: program, ID: id}
	if _, err := rand.Read(out.Incarnation[:]); err != nil {
		return Identity{}, fmt.Errorf("make incarnation: %w", err)
	}
	if err := WriteSealed(fs, dir, IdentityFile, out.format()); err != nil {
		return Identity{}, err
	}
	return out, nil
}

func checkIdentity(dir, content, program string, id uint64) (Identity, error) {
	out, err := parseIdentity(content)
	if err != nil {
		return Identity{}, fmt.Errorf("read %s of %s: %w", IdentityFile, dir, err)
	}
	if out.Program != program {
		return Identity{}, fmt.Errorf("data directory %s belongs to a %s, not to a %s", dir, out.Program, program)
	}
	if id != 0 && out.ID != id {
		return Identity{}, fmt.Errorf("data directory %s belongs to node %d, not to node %d", dir, out.ID, id)
	}
	return out, nil
}

func refuseForeign(fs vfs.FS, dir string) error {
	names, err := fs.List(dir)
	if err != nil {
		return fmt.Errorf("list %s: %w", dir, err)
	}
	for _, name := range names {
		if name != lockFile && name != IdentityFile+".tmp" && name != "lost+found" {
			return fmt.Errorf("data directory %s has no %s but is not empty (%s): restore the file or choose an empty directory",
				dir, IdentityFile, name)
		}
	}
	return nil
}
