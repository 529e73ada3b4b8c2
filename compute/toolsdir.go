package compute

import (
	"os"
	"path/filepath"
	"runtime"
)

// ToolsDir is where binaries are unpacked that this machine lacks:
// WALHAVEN_TOOLS if set, else the folder .tools of the source tree that the
// working directory or our executable lies in, else a cache folder. Where
// PostgreSQL's account cannot enter it, /var/cache/walhaven takes its place.
func ToolsDir() string {
	if dir := os.Getenv("WALHAVEN_TOOLS"); dir != "" {
		return dir
	}
	for _, start := range []func() (string, error){os.Getwd, executableDir} {
		dir, err := start()
		if err != nil {
			continue
		}
		if root, ok := sourceTree(dir); ok {
			if tools := filepath.Join(root, ".tools"); Reachable(tools) == nil {
				return tools
			}
		}
	}
	if cache, err := os.UserCacheDir(); err == nil && Reachable(cache) == nil {
		return filepath.Join(cache, "walhaven")
	}
	return "/var/cache/walhaven"
}

func executableDir() (string, error) {
	self, err := os.Executable()
	return filepath.Dir(self), err
}

// sourceTree returns the closest parent of dir that is a clone of walhaven.
func sourceTree(dir string) (string, bool) {
	for {
		if _, err := os.Stat(filepath.Join(dir, "compute", "computetest")); err == nil {
			if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
				return dir, true
			}
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", false
		}
		dir = parent
	}
}

type folders struct{ binDir, libDir string }

// unpacked returns the installs below toolsDir: pg/<major> as the npm packages
// lay it out, pg/debian as Debian's packages do.
func unpacked(toolsDir string) []folders {
	var all []folders
	for _, bin := range newestFirst(filepath.Join(toolsDir, "pg", "debian", "usr", "lib", "postgresql", "*", "bin")) {
		libs, _ := filepath.Glob(filepath.Join(toolsDir, "pg", "debian", "usr", "lib", "*-linux-gnu")) // Constant pattern.
		all = append(all, folders{binDir: bin, libDir: first(libs)})
	}
	for major := MaxMajor; major >= MinMajor; major-- {
		root := npmDir(toolsDir, major)
		if executable(filepath.Join(root, "bin", "postgres")) {
			all = append(all, folders{binDir: filepath.Join(root, "bin"), libDir: filepath.Join(root, "lib")})
		}
	}
	return all
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// npmArch is the word for our processor in the names of npm's packages.
func npmArch() string {
	return map[string]string{"amd64": "x64", "386": "ia32"}[runtime.GOARCH]
}
