package replication

import (
	"testing"

	"github.com/walhaven/walhaven/protocol/pushwal"
	"github.com/walhaven/walhaven/wal"
)

// BenchmarkAppendRoundTrip is a small commit as an acceptor sees it: an append,
// a sync of a file in memory, an answer.
func BenchmarkAppendRoundTrip(b *testing.B) { benchmarkAppend(b, 200, 1) }

// BenchmarkAppendStream is bulk loading: full frames, as many under way as the
// socket takes.
func BenchmarkAppendStream(b *testing.B) { benchmarkAppend(b, pushwal.MaxAppend, 16) }

// benchmarkAppend sends frames of the given size and lets up to window of them
// be unanswered.
func benchmarkAppend(b *testing.B, size, window int) {
	n := newNode(b)
	p := n.connect(b, ours)
	p.lead(1)
	data := someWAL(32 << 20)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	var header [pushwal.MaxAppendHeader]byte
	at, answered := 0, 0
	for b.Loop() {
		if at+size > len(data) {
			b.StopTimer()
			n = newNode(b)
			p = n.connect(b, ours)
			p.lead(1)
			at, answered = 0, 0
			b.StartTimer()
		}
		frame := data[at : at+size]
		m := pushwal.AppendRequest{
			Generation: 1, Term: 1, Begin: testBase + wal.LSN(at), End: testBase + wal.LSN(at+size),
			TLI: 1, CRC: pushwal.Checksum(frame),
		}
		if err := p.stream.Send(ours.AppendAppendRequestHeader(header[:0], &m), frame); err != nil {
			b.Fatal(err)
		}
		if err := p.stream.Flush(); err != nil {
			b.Fatal(err)
		}
		at += size
		if window == 1 {
			p.response()
			continue
		}
		for at-answered >= window*size {
			answered = max(answered, int(p.response().FlushLSN-testBase))
		}
	}
}
