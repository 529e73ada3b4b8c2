package ownthread

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls below block without telling the runtime, which so leaves the
// goroutine its P. Told, it would take that away whenever nothing comes for 10 ms,
// and look for others to take every 20 us for a while: dearer than the wait that
// it ends. For what has to stop all goroutines it interrupts the call by a signal
// (EINTR), as it does every 10 ms so that others have their turn.

func rawRead(fd int, p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, _, e := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

// rawTrySend is send(2) that does not wait. p is not empty.
func rawTrySend(fd int, p []byte) (int, error) {
	n, _, e := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

// rawReceive is recvmsg(2). p is not empty.
func rawReceive(fd int, p, oob []byte) (n, oobn, flags int, err error) {
	var m unix.Msghdr
	iov := unix.Iovec{Base: &p[0]}
	iov.SetLen(len(p))
	m.Iov = &iov
	m.SetIovlen(1)
	if len(oob) > 0 {
		m.Control = &oob[0]
		m.SetControllen(len(oob))
	}
	got, _, e := syscall.RawSyscall(syscall.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&m)), unix.MSG_CMSG_CLOEXEC)
	if e != 0 {
		return 0, 0, 0, e
	}
	return int(got), int(m.Controllen), int(m.Flags), nil
}
