package datadir

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/walhaven/walhaven/internal/invariant"
)

// maxSealedSize bounds what ReadSealed loads, in bytes: a sealed file holds a
// few lines, a slots file at most a few hundred.
const maxSealedSize = 1 << 20

const sealPrefix = "crc32c "

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrDamaged is wrapped by the error of ReadSealed when the checksum line is
// missing or wrong.
var ErrDamaged = errors.New("damaged file")

// WriteSealed replaces dir/name by content and a checksum line. On nil the new
// content is durable; on an error either the old or the new content is there.
// content must consist of whole lines.
func WriteSealed(fs vfs.FS, dir, name, content string) error {
	if content != "" && !strings.HasSuffix(content, "\n") {
		return fmt.Errorf("write %s: content is not whole lines", name)
	}
	path, tmp := fs.PathJoin(dir, name), fs.PathJoin(dir, name+".tmp")
	sealed := fmt.Appendf(nil, "%s%s%08x\n", content, sealPrefix, crc32.Checksum([]byte(content), castagnoli))
	if err := writeFile(fs, tmp, sealed); err != nil {
		return err
	}
	invariant.Point("datadir/sealed/rename")
	if err := fs.Rename(tmp, path); err != nil {
		return fmt.Errorf("rename %s: %w", tmp, err)
	}
	invariant.Point("datadir/sealed/folder")
	return SyncDir(fs, dir)
}

func writeFile(fs vfs.FS, path string, content []byte) error {
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	invariant.Point("datadir/sealed/write")
	_, err = f.Write(content)
	if err == nil {
		invariant.Point("datadir/sealed/sync")
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// SyncDir makes the names in dir durable.
func SyncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("fsync %s: %w", dir, err)
	}
	return nil
}

// ReadSealed returns the content that WriteSealed was given. A missing file
// gives an error for which oserror.IsNotExist (and os.ErrNotExist) holds; a
// file whose checksum line does not fit gives one that wraps ErrDamaged.
func ReadSealed(fs vfs.FS, dir, name string) (string, error) {
	path := fs.PathJoin(dir, name)
	f, err := fs.Open(path)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", path, err)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSealedSize+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	content, err := unseal(b)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return content, nil
}

func unseal(b []byte) (string, error) {
	if len(b) > maxSealedSize {
		return "", fmt.Errorf("%w: longer than %d bytes", ErrDamaged, maxSealedSize)
	}
	const sealLen = len(sealPrefix) + 8 + 1
	if len(b) < sealLen {
		return "", fmt.Errorf("%w: no checksum line", ErrDamaged)
	}
	content := b[:len(b)-sealLen]
	want := fmt.Sprintf("%s%08x\n", sealPrefix, crc32.Checksum(content, castagnoli))
	if string(b[len(content):]) != want {
		return "", fmt.Errorf("%w: checksum line does not fit the content", ErrDamaged)
	}
	return string(content), nil
}
