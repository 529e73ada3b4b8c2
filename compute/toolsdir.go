package compute

import (
	"os"
	"path/filepath"
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

// unpacked returns the installs below toolsDir/pg, newest first. Archives keep
// their own layout, since their programs find libraries by relative paths.
func unpacked(toolsDir string) []folders {
	root := filepath.Join(toolsDir, "pg", "*")
	var all []folders
	for _, bin := range newestFirst(filepath.Join(root, "*", "pginstall", "bin")) {
		all = append(all, folders{binDir: bin})
	}
	for _, bin := range newestFirst(filepath.Join(root, "usr", "lib", "postgresql", "*", "bin")) {
		libs, _ := filepath.Glob(filepath.Join(bin, "../../../*-linux-gnu")) // Fails for bad patterns only.
		u := folders{binDir: bin}
		if len(libs) > 0 {
			u.libDir = libs[0]
		}
		all = append(all, u)
	}
	for _, bin := range newestFirst(filepath.Join(root, "package", "native", "bin")) {
		all = append(all, folders{binDir: bin, libDir: filepath.Join(filepath.Dir(bin), "lib")})
	}
	return all
}
