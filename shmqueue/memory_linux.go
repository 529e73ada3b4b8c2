package shmqueue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// createMemory makes size bytes of memory that other processes can map, whose
// length never changes. All of it is allocated at once, so that a machine without
// memory says so here.
func createMemory(name string, size int64) (*os.File, error) {
	flags := unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(name, flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate(name, flags)
	}
	if err != nil {
		return nil, fmt.Errorf("create shared memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if err := unix.Fallocate(fd, 0, 0, size); err != nil {
		return nil, errors.Join(fmt.Errorf("allocate %d bytes of shared memory: %w", size, err), f.Close())
	}
	return f, nil
}

const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW

// seal fixes the length of f: without that, cutting it would kill each reader.
// With readOnly nobody else can map it to write, however they came by it; Linux
// before 5.1 cannot do that, and those who get a descriptor get one for reading.
func seal(f *os.File, readOnly bool) error {
	if readOnly {
		_, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_FUTURE_WRITE)
		if err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("seal shared memory: %w", err)
		}
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals|unix.F_SEAL_SEAL); err != nil {
		return fmt.Errorf("seal shared memory: %w", err)
	}
	return nil
}

// isSealed says whether the length of f is fixed, and returns it.
func isSealed(f *os.File) (size int64, err error) {
	got, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	if err != nil {
		return 0, fmt.Errorf("read the seals of shared memory: %w", err)
	}
	if got&seals != seals {
		return 0, fmt.Errorf("%w: its length is not sealed", ErrLayout)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, fmt.Errorf("look at shared memory: %w", err)
	}
	return st.Size, nil
}

// mapMemory maps size bytes of f.
func mapMemory(f *os.File, size int64, writable bool) ([]byte, error) {
	prot := unix.PROT_READ
	if writable {
		prot |= unix.PROT_WRITE
	}
	p, err := unix.Mmap(int(f.Fd()), 0, int(size), prot, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes of shared memory: %w", size, err)
	}
	return p, nil
}

func unmap(p []byte) error {
	if err := unix.Munmap(p); err != nil {
		return fmt.Errorf("unmap shared memory: %w", err)
	}
	return nil
}

// anonymous maps size bytes of this process's own.
func anonymous(size int) ([]byte, error) {
	p, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes: %w", size, err)
	}
	return p, nil
}

// replace puts f, or with nil memory of this process's own, in the place of page,
// which is mapped. There is no moment at which page cannot be accessed.
func replace(page []byte, f *os.File) error {
	fd, flags := -1, unix.MAP_FIXED|unix.MAP_PRIVATE|unix.MAP_ANON
	if f != nil {
		fd, flags = int(f.Fd()), unix.MAP_FIXED|unix.MAP_SHARED
	}
	if _, err := unix.MmapPtr(fd, 0, unsafe.Pointer(&page[0]), uintptr(len(page)), unix.PROT_READ|unix.PROT_WRITE, flags); err != nil {
		return fmt.Errorf("map the page of a slot: %w", err)
	}
	return nil
}

// forReading returns another descriptor of f that can only read it.
func forReading(f *os.File) (*os.File, error) {
	r, err := os.Open("/proc/self/fd/" + strconv.Itoa(int(f.Fd())))
	if err != nil {
		return nil, fmt.Errorf("open shared memory for reading: %w", err)
	}
	return r, nil
}

// newEvent makes an eventfd, for Go's poller.
func newEvent() (*os.File, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("create an eventfd: %w", err)
	}
	return os.NewFile(uintptr(fd), "eventfd"), nil
}

// duplicate returns another descriptor of f.
func duplicate(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate a descriptor: %w", err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// polled returns f, which it takes over, with Go's poller behind it: whoever
// passed it on may have made it block.
func polled(f *os.File) (*os.File, error) {
	defer f.Close() //nolint:errcheck // It is a duplicate.
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate an eventfd: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(fmt.Errorf("make an eventfd not block: %w", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// machineClock is the clock that all processes share, in nanoseconds.
func machineClock() (int64, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0, fmt.Errorf("read the clock: %w", err)
	}
	return ts.Nano(), nil
}

// bell is the ringing end of an eventfd.
type bell struct {
	f    *os.File
	conn syscall.RawConn
	once func(fd uintptr) bool
}

func newBell(f *os.File) (*bell, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("use an eventfd: %w", err)
	}
	one := binary.NativeEndian.AppendUint64(nil, 1)
	return &bell{f: f, conn: conn, once: func(fd uintptr) bool {
		// A counter that is full wakes as well: whatever the other side made of it,
		// nothing waits here.
		_, _ = unix.Write(int(fd), one)
		return true
	}}, nil
}

func (b *bell) ring() { _ = b.conn.Write(b.once) }

func (b *bell) close() { _ = b.f.Close() }
