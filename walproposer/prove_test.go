package walproposer

import (
	"context"
	"crypto/sha256"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/walhaven/walhaven/shmqueue"
	"github.com/walhaven/walhaven/wal"
)

// plainDigests cuts as WAL_DIGEST does, the simple way.
func plainDigests(r wal.Range, data []byte) (out []digest) {
	for at := r.Start; at < r.End; {
		end := min(at&^(digestSize-1)+digestSize, r.End)
		out = append(out, digest{wal.Range{Start: at, End: end}, sha256.Sum256(data[at-r.Start : end-r.Start])})
		at = end
	}
	return out
}

func randomBytes(n int, seed uint64) []byte {
	b, r := make([]byte, n), rand.NewPCG(seed, 0)
	for i := range b {
		b[i] = byte(r.Uint64())
	}
	return b
}

// proveOver runs data, which begins at start, through a prover and a queue as
// the tap does, and returns the digests from lower up to upto.
func proveOver(t require.TestingT, start, lower, upto wal.LSN, data []byte, piece int) []digest {
	q, err := shmqueue.NewLocal(shmqueue.Options{Size: MinQueueSize, Start: start})
	require.NoError(t, err)
	q.Release(upto &^ (digestSize - 1))
	s := &session{proof: newProver(lower), queue: localQueue{q}}
	at := start
	for len(data) > 0 && at < upto+digestSize {
		n := min(piece, len(data))
		s.proof.feed(at, data[:n])
		require.NoError(t, q.Write(context.Background(), data[:n]))
		at, data = at+wal.LSN(n), data[n:]
	}
	out, err := s.ownDigests(context.Background(), upto)
	require.NoError(t, err)
	return out
}

func TestDigestsAreCutAsSafekeepersCutThem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := wal.LSN(rapid.IntRange(1, 5<<20).Draw(t, "start"))
		n := rapid.IntRange(1, 6<<20).Draw(t, "n")
		lower := start + wal.LSN(rapid.IntRange(0, n-1).Draw(t, "lower"))
		upto := lower + wal.LSN(rapid.IntRange(1, n-int(lower-start)).Draw(t, "upto"))
		data := randomBytes(n, rapid.Uint64().Draw(t, "seed"))
		want := plainDigests(wal.Range{Start: lower, End: upto}, data[lower-start:upto-start])
		require.Equal(t, want, proveOver(t, start, lower, upto, data, rapid.IntRange(1, 1<<19).Draw(t, "piece")))
	})
}

// A history that differs in one commit timestamp, far back, is another history.
func TestOneByteMoreThan2MiBBackIsNoticed(t *testing.T) {
	const start, n = wal.LSN(3 << 20), 7 << 20
	theirs := randomBytes(n, 1)
	own := append([]byte{}, theirs...)
	own[n-2<<20-100] ^= 1
	want := plainDigests(wal.Range{Start: start, End: start + n}, theirs)
	require.Equal(t, want, proveOver(t, start, start, start+n, theirs, 100_000))
	got := proveOver(t, start, start, start+n, own, 100_000)
	require.NotEqual(t, want, got)
	// Negative control: a window over the last 2 MiB would have let it pass.
	require.Equal(t, want[len(want)-2:], got[len(got)-2:])
}

func TestVotesBelowWhatIsStillThereAskForAnotherSession(t *testing.T) {
	q, err := shmqueue.NewLocal(shmqueue.Options{Size: MinQueueSize, Start: 1 << 20})
	require.NoError(t, err)
	s := &session{proof: newProver(1 << 20), queue: localQueue{q}}
	q.Release(1 << 30)
	data := randomBytes(3*MinQueueSize, 2)
	s.proof.feed(1<<20, data)
	require.NoError(t, q.Write(context.Background(), data))
	_, err = s.ownDigests(context.Background(), 1<<20+1234)
	require.ErrorIs(t, err, errVotesMoved)
}
