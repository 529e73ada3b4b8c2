package shmqueue

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/walhaven/walhaven/internal/invariant"
	"github.com/walhaven/walhaven/wal"
)

// roleVariable makes the test binary play another process.
const roleVariable = "SHMQUEUE_TEST_ROLE"

func roles() map[string]func() error {
	return map[string]func() error{"consume": consume, "produce": produce, "push": push, "measure": measure, "measure-socket": measureSocket}
}

func TestMain(m *testing.M) {
	if name := os.Getenv(roleVariable); name != "" {
		role := roles()[name]
		if role == nil {
			fmt.Fprintln(os.Stderr, "no such role:", name)
			os.Exit(2)
		}
		if err := role(); err != nil {
			fmt.Fprintln(os.Stderr, name+":", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// child is a process that runs this binary in a role, with a socket to it.
type child struct {
	*exec.Cmd
	conn *net.UnixConn // the child's is descriptor 3
	done chan struct{} // closed when it was waited for
	err  error
}

// spawn starts role with further descriptors from 4 on, which stay the caller's.
// A fail point is what WALHAVEN_FAILPOINTS takes, or empty.
func spawn(t testing.TB, role, failPoint string, files []*os.File, env ...string) *child {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	ours, theirs := os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control")
	conn, err := net.FileConn(ours)
	require.NoError(t, err)
	require.NoError(t, ours.Close())
	c := &child{Cmd: exec.Command(os.Args[0]), conn: conn.(*net.UnixConn), done: make(chan struct{})}
	c.Env = append(os.Environ(), roleVariable+"="+role, "WALHAVEN_FAILPOINTS="+failPoint, "GORACE=atexit_sleep_ms=0")
	c.Env = append(c.Env, env...)
	c.ExtraFiles = append([]*os.File{theirs}, files...)
	c.Stderr = os.Stderr
	if failPoint != "" {
		c.Stderr = nil // It says which point killed it; the tests count.
	}
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, c.Start())
	require.NoError(t, theirs.Close())
	go func() {
		defer close(c.done)
		c.err = c.Wait()
	}()
	t.Cleanup(func() { c.end() })
	return c
}

// end kills and reaps.
func (c *child) end() {
	_ = c.Process.Kill()
	<-c.done
	_ = c.conn.Close()
}

// halted waits until the process stopped or died.
func (c *child) halted() {
	err := error(unix.EINTR)
	for err == unix.EINTR { //nolint:errorlint // A plain errno.
		err = unix.Waitid(unix.P_PID, c.Process.Pid, nil, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
	}
}

func (c *child) resume() error { return c.Process.Signal(syscall.SIGCONT) }

// control is a child's end of the socket.
func control() (*net.UnixConn, error) {
	f := os.NewFile(3, "control")
	defer f.Close() //nolint:errcheck // The connection has its own.
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

func number(name string) uint64 {
	n, err := strconv.ParseUint(os.Getenv(name), 10, 64)
	if err != nil {
		panic(name + ": " + err.Error())
	}
	return n
}

func setting(name string, value uint64) string { return name + "=" + strconv.FormatUint(value, 10) }

func grantSettings(g *Grant) []string {
	return []string{setting("SLOT", uint64(g.ID.Index)), setting("SLOT_GENERATION", uint64(g.ID.Generation))}
}

// granted attaches a child to the descriptors from first on.
func granted(first int) (*Attached, error) {
	var files []*os.File
	for i := range Files {
		files = append(files, os.NewFile(uintptr(first+i), "granted"))
	}
	return Attach(files, SlotID{Index: uint32(number("SLOT")), Generation: uint32(number("SLOT_GENERATION"))})
}

// consume reads the known pattern until the queue or its parent ends, and tells
// how far it is. Wrong bytes end it with an error.
func consume() error {
	conn, err := control()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { // ends with the process
		_, _ = conn.Read(make([]byte, 1))
		cancel()
	}()
	a, err := granted(4)
	if err != nil {
		return err
	}
	c, err := a.Register()
	if err != nil {
		return err
	}
	for at := wal.LSN(number("START")); ; {
		f, err := c.Next(ctx, at, 0)
		switch {
		case errors.Is(err, ErrBehindFloor):
			at = c.Floor()
			continue
		case errors.Is(err, ErrRevoked), errors.Is(err, ErrClosed), ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		invariant.Point("test/holding")
		if !f.Intact() || !isPattern(f) {
			return fmt.Errorf("wrong bytes at %s", f.Range.Start)
		}
		at = f.Range.End
		if _, err := conn.Write(binary.BigEndian.AppendUint64(nil, uint64(at))); err != nil {
			return nil //nolint:nilerr // The parent has seen enough.
		}
	}
}

// produce writes the known pattern from START on until it is killed. It grants
// two slots to its parent.
func produce() error {
	conn, err := control()
	if err != nil {
		return err
	}
	q, err := Create(Options{Size: int(number("SIZE")), Start: wal.LSN(number("START")), PinGrace: time.Duration(number("GRACE"))})
	if err != nil {
		return err
	}
	for range 2 {
		g, err := q.Grant()
		if err != nil {
			return err
		}
		if err := sendGrant(conn, g); err != nil {
			return err
		}
	}
	var ready [1]byte
	if _, err := conn.Read(ready[:]); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = conn.Read(ready[:])
		cancel()
	}()
	for ctx.Err() == nil {
		_ = pump(ctx, &q.Local, 1<<16)
	}
	return nil
}

// sendGrant passes g on and closes it.
func sendGrant(conn *net.UnixConn, g *Grant) error {
	var fds []int
	for _, f := range g.Files {
		fds = append(fds, int(f.Fd()))
	}
	m := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, g.ID.Index), g.ID.Generation)
	_, _, err := conn.WriteMsgUnix(m, unix.UnixRights(fds...), nil)
	return errors.Join(err, g.Close())
}

// receiveGrant attaches to what sendGrant passed. io.EOF says that the other
// side is gone.
func receiveGrant(conn *net.UnixConn) (*Attached, error) {
	m, oob := make([]byte, 8), make([]byte, unix.CmsgSpace(Files*4))
	n, oobn, _, _, err := conn.ReadMsgUnix(m, oob)
	if err != nil || n == 0 {
		return nil, errors.Join(err, io.EOF)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("%d messages: %w", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for _, fd := range fds {
		files = append(files, os.NewFile(uintptr(fd), "granted"))
	}
	return Attach(files, SlotID{Index: binary.BigEndian.Uint32(m), Generation: binary.BigEndian.Uint32(m[4:])})
}
