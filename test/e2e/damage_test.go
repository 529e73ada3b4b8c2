package e2e

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/test/cluster"
	"github.com/walhaven/walhaven/wal"
)

// ring is the queue's memory in a running tap; docs/shared-memory-queue.md draws
// it.
type ring struct {
	mem  *os.File // of the process
	base int64    // of the queue in it
	data int64    // offset of the bytes
	size uint64
}

// ringOf opens the memory of a tap, which needs the right to debug it.
func ringOf(t *testing.T, pid int) *ring {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	require.NoError(t, err)
	r := &ring{}
	for line := range strings.Lines(string(maps)) {
		if strings.Contains(line, "memfd:walhaven-queue") && strings.Contains(line, "rw-s") {
			_, err := fmt.Sscanf(line, "%x-", &r.base)
			require.NoError(t, err)
		}
	}
	require.NotZero(t, r.base, "the tap has its queue mapped to write")
	if r.mem, err = os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0); err != nil {
		t.Skipf("another process's memory cannot be opened here (%v); package shmqueue flips the same bits in its own", err)
	}
	t.Cleanup(func() { _ = r.mem.Close() })
	header := r.read(t, 0, 64)
	r.data, r.size = int64(binary.NativeEndian.Uint32(header[12:])), binary.NativeEndian.Uint64(header[24:])
	return r
}

func (r *ring) read(t *testing.T, at int64, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	_, err := r.mem.ReadAt(b, r.base+at)
	require.NoError(t, err)
	return b
}

// flip changes one bit of the byte at an offset of the queue's memory.
func (r *ring) flip(t *testing.T, at int64, bit int) {
	t.Helper()
	b := r.read(t, at, 1)
	b[0] ^= 1 << bit
	_, err := r.mem.WriteAt(b, r.base+at)
	require.NoError(t, err)
}

// byteAt and descriptorOf are the offsets of the byte at an LSN and of its
// block's descriptor.
func (r *ring) byteAt(x wal.LSN) int64 { return r.data + int64(uint64(x)%r.size) }

func (r *ring) descriptorOf(x wal.LSN) int64 {
	return 12288 + 64*int64(uint64(x)%r.size/wal.BlockSize)
}

// damage is one way in which the memory of a running queue goes wrong.
type damage struct {
	name string
	at   func(r *ring, x wal.LSN) int64 // x was written and is yet to be sent to one safekeeper
	bit  int
	// attach has a new worker look at the header.
	attach bool
	// lasting damage ends the term, for the memory is not to be used any more. The
	// other kind is put right by what is written next.
	lasting bool
	long    bool // in long runs only
}

var damages = []damage{
	{name: "a byte of WAL", at: (*ring).byteAt, lasting: true},
	{name: "a block's checksum", at: func(r *ring, x wal.LSN) int64 { return r.descriptorOf(x) + 8 }, bit: 3, lasting: true},
	{name: "a block's length", at: func(r *ring, x wal.LSN) int64 { return r.descriptorOf(x) + 13 }, bit: 4, lasting: true, long: true},
	{name: "a block's LSN", at: func(r *ring, x wal.LSN) int64 { return r.descriptorOf(x) + 3 }, bit: 1, lasting: true, long: true},
	{name: "a block's generation", at: func(r *ring, x wal.LSN) int64 { return r.descriptorOf(x) + 16 }, bit: 7, lasting: true, long: true},
	{name: "the header", at: func(*ring, wal.LSN) int64 { return 24 }, bit: 2, attach: true, lasting: true},
	{name: "the head", at: func(*ring, wal.LSN) int64 { return 4096 + 5 }, bit: 6},
	{name: "the floor", at: func(*ring, wal.LSN) int64 { return 4096 + 128 + 5 }, bit: 6},
	{name: "a slot's line", at: func(*ring, wal.LSN) int64 { return 8192 + 4 }, bit: 0, long: true},
}

// beyondSockets is more than the buffers of a TCP connection hold: 4 MiB and 6 MiB
// unless Linux is told otherwise.
const beyondSockets = 20 << 20

// TestMemoryOfTheQueueIsDamaged flips single bits in the queue of a running
// walproposer, from outside. What is damaged reaches nobody, and everything goes
// on: where the damage lasts under a new term, in new memory.
func TestMemoryOfTheQueueIsDamaged(t *testing.T) {
	t.Parallel()
	c := cluster.New(t, cluster.Options{})
	needProcesses(t, c)
	w := c.StartWriter(2)
	settled(c)
	for _, d := range damages {
		if d.long && os.Getenv("WALHAVEN_TEST_LONG") == "" {
			continue
		}
		t.Run(d.name, func(t *testing.T) {
			before := walproposerStatus(c)
			// Nothing reaches a safekeeper that is stopped but what its socket holds.
			const slow = "safekeeper-3"
			c.Signal(slow, syscall.SIGSTOP)
			x := lsnOf(t, c, "SELECT pg_current_wal_flush_lsn()") + beyondSockets
			require.NoError(t, c.Server.Exec(t.Context(), fmt.Sprintf(
				"SELECT count(pg_logical_emit_message(true, 'damage', repeat('x', 1000000))) FROM generate_series(1, %d)", beyondSockets*5/4/1000000)))
			r := ringOf(t, before.TapPID)
			r.flip(t, d.at(r, x), d.bit)
			if d.attach {
				require.NoError(t, syscall.Kill(before.PushPIDs[2], syscall.SIGKILL))
			}
			c.Signal(slow, syscall.SIGCONT)
			w.Await(20)
			if d.lasting {
				// The bytes are yet to be sent to the one that lags, and to nobody else.
				c.Eventually("another term", func() bool { return walproposerStatus(c).Term != before.Term })
			}
			settled(c)
			w.Await(20)
			now := walproposerStatus(c)
			require.Equal(t, before.TapPID, now.TapPID, "the process stays")
		})
	}
	acked := w.Stop()
	require.Empty(t, w.Failures(), "failed transactions")
	sameWAL(t, c.Cluster, c.Safekeepers[0].DataDir, c.Safekeepers[2].DataDir)
	out, code := c.Walhaven("check")
	require.Zero(t, code, out)
	_, text := cluster.Get(t, "http://"+c.Walproposer.HTTP+"/metrics")
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "walhaven_walproposer_queue_") && !strings.Contains(line, "bucket") {
			t.Log(strings.TrimSpace(line))
		}
	}
	require.NoError(t, c.Server.Kill())
	c.Kill("walproposer")
	require.Zero(t, w.Lost(c.Restore()), "of %d acknowledged commits", len(acked))
}

func lsnOf(t *testing.T, c *cluster.Cluster, sql string) wal.LSN {
	t.Helper()
	text, err := c.Server.QueryValue(context.Background(), sql)
	require.NoError(t, err)
	lsn, err := wal.ParseLSN(text)
	require.NoError(t, err)
	return lsn
}
