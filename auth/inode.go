package auth

import (
	"io/fs"
	"syscall"
)

// inode is 0 where the file system has none.
func inode(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}
