package baseimport

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// FromFolder reads what pg_basebackup made, in either format, or the data
// directory of a server that was shut down, such as initdb makes. End.Stop is 0
// for the latter, and is read from the manifest otherwise.
func FromFolder(ctx context.Context, dir string, sink Sink) (End, error) {
	end, err := folderEnd(dir)
	if err != nil {
		return end, err
	}
	f := folder{ctx: ctx, dir: dir, out: &sinkWriter{sink: sink}}
	archives, err := filepath.Glob(filepath.Join(dir, "*.tar*"))
	if err != nil {
		return end, err
	}
	if len(archives) > 0 {
		err = f.archives(archives)
	} else {
		err = f.plain()
	}
	if err != nil {
		return end, fmt.Errorf("read backup in %s: %w", dir, err)
	}
	return end, nil
}

// folderEnd reads where a backup ends.
func folderEnd(dir string) (End, error) {
	manifest, err := os.ReadFile(filepath.Join(dir, "backup_manifest"))
	switch {
	case err == nil:
		stop, tli, err := ManifestEnd(manifest)
		return End{Stop: stop, TLI: tli}, err
	case !errors.Is(err, fs.ErrNotExist):
		return End{}, fmt.Errorf("read backup_manifest: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "backup_label")); err == nil {
		return End{}, fmt.Errorf("the backup in %s has no backup_manifest, which says where it ends", dir)
	}
	// A data directory: whether its server was shut down is for Finish to see.
	if _, err := os.Stat(filepath.Join(dir, "postmaster.pid")); err == nil {
		return End{}, fmt.Errorf("a server runs in %s; take a backup of it instead", dir)
	}
	return End{}, nil
}

// sinkWriter cuts bytes into messages.
type sinkWriter struct{ sink Sink }

func (w *sinkWriter) Write(p []byte) (int, error) {
	for at := 0; at < len(p); at += MaxData {
		if err := w.sink.Data(p[at:min(at+MaxData, len(p))]); err != nil {
			return at, err
		}
	}
	return len(p), nil
}

type folder struct {
	ctx context.Context //nolint:containedctx // of one call
	dir string
	out *sinkWriter
}

// archives sends tar files as they are.
func (f *folder) archives(paths []string) error {
	for _, path := range paths {
		name := filepath.Base(path)
		if strings.HasPrefix(name, "pg_wal.tar") {
			continue
		}
		oid, err := archiveOID(name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := f.out.sink.Begin(oid, ""); err != nil {
			return err
		}
		if err := f.archive(path); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (f *folder) archive(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // It was only read.
	var r io.Reader = file
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(file); err != nil {
			return err
		}
	}
	_, err = io.CopyBuffer(f.out, struct{ io.Reader }{r}, make([]byte, MaxData))
	return err
}

// plain makes archives of a folder: those of the tablespaces first, as the server
// does, and pg_control as the very last file.
func (f *folder) plain() error {
	links, err := os.ReadDir(filepath.Join(f.dir, "pg_tblspc"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, link := range links {
		oid, err := strconv.ParseUint(link.Name(), 10, 32)
		if err != nil {
			continue
		}
		path := filepath.Join(f.dir, "pg_tblspc", link.Name())
		target, err := os.Readlink(path)
		if err != nil {
			target = "" // It lies in place.
		}
		if err := f.tree(uint32(oid), target, path, "PG_"); err != nil {
			return err
		}
	}
	return f.tree(0, "", f.dir, "")
}

// tree sends the files below root that an import looks at as one archive.
func (f *folder) tree(oid uint32, location, root, prefix string) error {
	if err := f.out.sink.Begin(oid, location); err != nil {
		return err
	}
	t := tar.NewWriter(f.out)
	root, err := filepath.EvalSymlinks(root)
	if err != nil {
		return err
	}
	const last = "global/pg_control"
	err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || f.ctx.Err() != nil {
			return errors.Join(err, f.ctx.Err())
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if !e.Type().IsRegular() || !strings.HasPrefix(name, prefix) || name == last || nameFile(oid, name).kind == kindSkip {
			return nil
		}
		return f.file(t, name, path)
	})
	if err == nil && oid == 0 {
		err = f.file(t, last, filepath.Join(root, filepath.FromSlash(last)))
	}
	return errors.Join(err, t.Close())
}

func (f *folder) file(t *tar.Writer, name, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // It was only read.
	st, err := file.Stat()
	if err != nil {
		return err
	}
	h := &tar.Header{Name: name, Size: st.Size(), Mode: 0o600, Typeflag: tar.TypeReg}
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(t, file)
	return err
}
