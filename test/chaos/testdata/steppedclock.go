package time

import (
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// clockOffset is what the file named in the environment says, in nanoseconds, and
// it may change at any time.
var clockOffset = sync.OnceValue(func() *atomic.Int64 {
	none := new(atomic.Int64)
	path, named := syscall.Getenv("WALHAVEN_CHAOS_CLOCK")
	if !named {
		return none
	}
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return none
	}
	defer syscall.Close(fd)
	at, err := syscall.Mmap(fd, 0, int(unsafe.Sizeof(*none)), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return none
	}
	return (*atomic.Int64)(unsafe.Pointer(&at[0]))
})

// stepped is the time of the machine's clock as its offset makes it.
func stepped(sec int64, nsec int32) (int64, int32) {
	t := int64(nsec) + clockOffset().Load()
	sec, t = sec+t/1e9, t%1e9
	if t < 0 {
		sec, t = sec-1, t+1e9
	}
	return sec, int32(t)
}
