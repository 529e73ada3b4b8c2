package compute

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// debianSource unpacks the distribution's packages with dpkg-deb. It never
// installs one: Debian's postgresql packages would create and start a cluster.
func debianSource() source {
	return source{name: "apt-get", offers: debianOffers, fetch: fetchDebian}
}

// debianOffers returns the server package of the wanted major, or of the newest
// supported one.
func debianOffers(ctx context.Context, major int) string {
	for _, program := range []string{"apt-get", "apt-cache", "dpkg-deb"} {
		if _, err := exec.LookPath(program); err != nil {
			return ""
		}
	}
	if major != 0 {
		return "postgresql-" + strconv.Itoa(major)
	}
	if name := newestListed(ctx); name != "" {
		return name
	}
	// Fresh machines have no package lists yet; fetchDebian looks again.
	return "postgresql"
}

// newestListed returns the newest supported server package that apt's lists
// name, "" if they name none.
func newestListed(ctx context.Context) string {
	names, err := exec.CommandContext(ctx, "apt-cache", "pkgnames", "postgresql-").Output()
	if err != nil {
		return ""
	}
	listed := map[string]bool{}
	for name := range strings.Lines(string(names)) {
		listed[strings.TrimSpace(name)] = true
	}
	for m := MaxMajor; m >= MinMajor; m-- {
		if name := "postgresql-" + strconv.Itoa(m); listed[name] {
			return name
		}
	}
	return ""
}

func fetchDebian(ctx context.Context, f *fetcher, what string) error {
	if newestListed(ctx) == "" {
		if _, err := f.run(ctx, "/", "apt-get", "update", "-qq"); err != nil {
			return fmt.Errorf("refresh the package lists: %w", err)
		}
	}
	if what == "postgresql" {
		what = newestListed(ctx)
	}
	if err := exec.CommandContext(ctx, "apt-cache", "show", what).Run(); what == "" || err != nil {
		return fmt.Errorf("this distribution has no package %s", what)
	}
	packages, err := missingPackages(ctx, f, what)
	if err != nil {
		return err
	}
	return f.install("debian-"+strings.TrimPrefix(what, "postgresql-"), func(dir string) error {
		if _, err := f.run(ctx, dir, "apt-get", append([]string{"download", "-q"}, packages...)...); err != nil {
			return fmt.Errorf("fetch packages: %w", err)
		}
		debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
		if err != nil {
			return fmt.Errorf("find the packages: %w", err)
		}
		for _, deb := range debs {
			if _, err := f.run(ctx, dir, "dpkg-deb", "-x", deb, dir); err != nil {
				return fmt.Errorf("unpack packages: %w", err)
			}
		}
		_, err = f.run(ctx, dir, "rm", append([]string{"-f"}, debs...)...)
		return err
	})
}

// installLine is how apt-get -s announces a package that is not installed.
var installLine = regexp.MustCompile(`(?m)^Inst (\S+) `)

// notNeeded are packages that the server depends on but does not load: the JIT
// compiler's, interpreters', and headers.
var notNeeded = regexp.MustCompile(`^(libllvm|libperl|libjson-perl|libz3|libc6|libgcc|libstdc\+\+)|-perl$|-dev$`)

// missingPackages asks apt-get what an install would bring, and keeps the
// server, its client programs and the shared libraries that this machine lacks.
func missingPackages(ctx context.Context, f *fetcher, server string) ([]string, error) {
	plan, err := f.run(ctx, "/", "apt-get", "-s", "-q", "--no-install-recommends", "install", server)
	if err != nil {
		return nil, fmt.Errorf("ask what is missing: %w", err)
	}
	packages := []string{server, strings.Replace(server, "postgresql-", "postgresql-client-", 1)}
	for _, m := range installLine.FindAllStringSubmatch(plan, -1) {
		if name := m[1]; strings.HasPrefix(name, "lib") && !notNeeded.MatchString(name) {
			packages = append(packages, name)
		}
	}
	return packages, nil
}
