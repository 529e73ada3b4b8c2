package shmqueue

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/walhaven/walhaven/wal"
)

// model is the plain slice that the queue is compared with.
type model struct {
	start wal.LSN
	data  []byte
}

func (m *model) at(r wal.Range) []byte { return m.data[r.Start-m.start : r.End-m.start] }

func TestQueueAgreesWithPlainSlice(t *testing.T) {
	agree(t, func(t *rapid.T, o Options) (*Local, func() (Consumer, error), func()) {
		q, err := NewLocal(o)
		require.NoError(t, err)
		return q, q.Register, q.Close
	})
}

// agree compares queues with plain slices: create makes one, says how to get a
// consumer, and how to end it.
func agree(t *testing.T, create func(*rapid.T, Options) (*Local, func() (Consumer, error), func())) {
	rapid.Check(t, func(t *rapid.T) {
		start := wal.LSN(rapid.IntRange(1, 200_000).Draw(t, "start"))
		q, register, end := create(t, Options{Size: rapid.IntRange(0, 150_000).Draw(t, "size"), Start: start})
		defer end()
		m := &model{start: start}
		ctx := context.Background()
		type reader struct {
			c  Consumer
			at wal.LSN
		}
		var readers []*reader
		defer func() {
			for _, r := range readers {
				r.c.Close()
			}
		}()
		released := start
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				n := rapid.IntRange(1, 40_000).Draw(t, "n")
				// Only what needs no waiting: this test has one goroutine.
				end := (m.start + wal.LSN(len(m.data)+n) + BlockSize - 1) &^ (BlockSize - 1)
				if end > q.w.size() && end-q.w.size() > released {
					t.Skip("would wait")
				}
				data := make([]byte, n)
				seed := rapid.Uint64().Draw(t, "seed")
				r := rand.NewPCG(seed, 1)
				for i := range data {
					data[i] = byte(r.Uint64())
				}
				for _, rd := range readers {
					rd.c.Unpin()
				}
				if rapid.Bool().Draw(t, "in place") {
					for rest := data; len(rest) > 0; {
						k := min(len(rest), MaxFrame, q.Size()/2)
						parts, err := q.Reserve(ctx, k)
						require.NoError(t, err)
						copy(parts[1], rest[copy(parts[0], rest):k])
						q.Publish(k)
						rest = rest[k:]
					}
				} else {
					require.NoError(t, q.Write(ctx, data))
				}
				m.data = append(m.data, data...)
			},
			"release": func(t *rapid.T) {
				released += wal.LSN(rapid.IntRange(0, len(m.data)-int(released-start)).Draw(t, "by"))
				q.Release(released)
			},
			"register": func(t *rapid.T) {
				if len(readers) > 5 {
					t.Skip("enough")
				}
				c, err := register()
				require.NoError(t, err)
				span := int(q.Head() - q.Floor())
				readers = append(readers, &reader{c: c, at: q.Floor() + wal.LSN(rapid.IntRange(0, span).Draw(t, "at"))})
			},
			"read": func(t *rapid.T) {
				if len(readers) == 0 {
					t.Skip("no reader")
				}
				rd := readers[rapid.IntRange(0, len(readers)-1).Draw(t, "reader")]
				limit := wal.LSN(0)
				if rapid.Bool().Draw(t, "limited") {
					limit = rd.at + wal.LSN(rapid.IntRange(0, 20_000).Draw(t, "limit"))
				}
				f, ok, err := rd.c.Try(rd.at, limit)
				if rd.at < q.Floor() && rd.at < q.Head() && (limit == 0 || limit > rd.at) {
					require.ErrorIs(t, err, ErrBehindFloor)
					rd.at = q.Floor()
					return
				}
				require.NoError(t, err)
				if !ok {
					require.True(t, rd.at == q.Head() || rd.at == limit)
					return
				}
				require.Equal(t, rd.at, f.Range.Start)
				require.LessOrEqual(t, f.Range.Len(), uint64(MaxFrame))
				require.Equal(t, m.at(f.Range), bytesOf(f))
				require.Equal(t, Checksum(bytesOf(f)), f.CRC)
				if limit != 0 {
					require.LessOrEqual(t, f.Range.End, limit)
				}
				rd.at = f.Range.End
			},
			"leave": func(t *rapid.T) {
				if len(readers) == 0 {
					t.Skip("no reader")
				}
				readers[0].c.Close()
				readers = readers[1:]
			},
		})
	})
}
