package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// forget has the kernel's cache give up all files below dir. What systems leave there
// would fill memory, turn by turn, and on a virtual machine memory that was not used
// before has to be found by the host first: those that come later would be slower.
func forget(dir string) error {
	unix.Sync() // What is not written yet would stay.
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // Nothing was written.
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
	if err != nil {
		return fmt.Errorf("have the files of %s leave the cache: %w", dir, err)
	}
	return nil
}
