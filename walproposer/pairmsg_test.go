package walproposer

import (
	"bytes"
	"io"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/walhaven/walhaven/internal/seqpacket"
	"github.com/walhaven/walhaven/wal"
)

// pairSamples has a message of each kind.
func pairSamples() []pairMessage {
	history := wal.TimelineHistory{Last: 4, Ancestors: []wal.HistoryEntry{{TLI: 1, Switch: 0x1500000}, {TLI: 3, Switch: 0x2500028}}}
	return []pairMessage{
		{kind: pairBegin, body: []byte(`{"peer":1}`)},
		{kind: pairSend, conn: 7, body: []byte("greeting")},
		{kind: pairSend, conn: 7, more: true, body: []byte("first part")},
		{kind: pairStart, conn: 7, start: streamStart{at: 0x1600000, term: 9, generation: 2, history: history}},
		{kind: pairStart, conn: 8, start: streamStart{at: 1, term: 1, history: wal.TimelineHistory{Last: 1}}},
		{kind: pairPositions, state: pairState{positions: positions{commit: 5, truncate: 4}, donor: 2, donorUpto: 6, quorum: true}},
		{kind: pairPositions, state: pairState{donor: -1}},
		{kind: pairRing, state: pairState{positions: positions{commit: 5, truncate: 4}}},
		{kind: pairDrop, conn: 7, body: []byte("why")},
		{kind: pairHello},
		{kind: pairOpen, conn: 1},
		{kind: pairFound},
		{kind: pairPulse},
		{kind: pairReceived, conn: 1, body: []byte("a")},
		{kind: pairClosed, conn: 1, body: []byte{}},
		{kind: pairStuck, body: []byte{}},
		{kind: pairStarve},
		{kind: pairAsk, conn: 3, body: []byte("1")},
		{kind: pairLogin, conn: 3, body: []byte(`{"user":"u","password":"p"}`)},
		{kind: pairSuspect},
	}
}

func TestPairMessagesRoundTrip(t *testing.T) {
	for _, m := range pairSamples() {
		var got pairMessage
		require.NoError(t, got.decode(m.appendTo(nil)))
		require.Equal(t, m, got, "%c", m.kind)
	}
}

func TestMalformedPairMessagesAreRefused(t *testing.T) {
	var m pairMessage
	for _, s := range pairSamples() {
		b := s.appendTo(nil)
		require.Error(t, m.decode(b[:pairHeader-1]), "%c cut short", s.kind)
		if !s.kind.hasBody() {
			require.Error(t, m.decode(append(b, 0)), "%c too long", s.kind)
		}
		flags := bytes.Clone(b)
		flags[1] |= 0x80
		if !s.kind.hasBody() {
			require.Error(t, m.decode(flags), "%c with an unknown flag", s.kind)
		}
	}
	require.Error(t, m.decode([]byte("Zxxxxxxx")))
	start := (&pairMessage{kind: pairStart, start: streamStart{history: wal.TimelineHistory{Last: 1}}}).appendTo(nil)
	start[len(start)-1] = 0xff // 4 billion ancestors
	require.Error(t, m.decode(start))
	require.Error(t, m.decode(make([]byte, seqpacket.MaxMessage+1)))
}

func FuzzDecodePairMessage(f *testing.F) {
	for _, m := range pairSamples() {
		f.Add(m.appendTo(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m, again pairMessage
		if m.decode(b) != nil {
			return
		}
		var a assembler
		if m.kind.hasBody() {
			_, _, _ = a.add(&m)
			require.LessOrEqual(t, len(a.buf), maxPairBody)
		}
		require.NoError(t, again.decode(m.appendTo(nil)))
		require.Equal(t, m, again)
	})
}

func pairOfConns(t require.TestingT) (a, b *pairConn) {
	ours, f, err := seqpacket.Pair()
	require.NoError(t, err)
	theirs, err := seqpacket.FromFile(f)
	require.NoError(t, err)
	return newPairConn(ours, "walproposer/tap/send"), newPairConn(theirs, "walproposer/worker/send")
}

func TestBodiesOfAnyLengthArriveWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := pairOfConns(t)
		defer a.close()
		defer b.close()
		n := rapid.IntRange(1, 4*pairPart).Draw(t, "length")
		body := bytes.Repeat([]byte{byte(n), byte(n >> 8), 3}, n/3+1)[:n]
		sent := make(chan error, 1)
		go func() {
			sent <- a.send(pairMessage{kind: pairSend, conn: 3, body: body})
		}()
		m, files, err := b.receive(time.Minute)
		require.NoError(t, err)
		require.Empty(t, files)
		require.Equal(t, uint32(3), m.conn)
		require.True(t, bytes.Equal(body, m.body))
		require.NoError(t, <-sent)
	})
}

func TestPartsAreBoundedAndKeptApart(t *testing.T) {
	var a assembler
	part := bytes.Repeat([]byte("x"), pairPart)
	var err error
	for n := 0; err == nil; n++ {
		require.LessOrEqual(t, n, maxPairBody/pairPart)
		_, _, err = a.add(&pairMessage{kind: pairSend, more: true, body: part})
	}
	a = assembler{}
	_, done, err := a.add(&pairMessage{kind: pairSend, conn: 1, more: true, body: part})
	require.NoError(t, err)
	require.False(t, done)
	_, _, err = a.add(&pairMessage{kind: pairSend, conn: 2, body: part})
	require.Error(t, err, "a part of another message")
	a = assembler{}
	_, _, err = a.add(&pairMessage{kind: pairSend, more: true})
	require.Error(t, err, "empty parts would never end")
}

func TestDescriptorsComeWithTheTaskOnly(t *testing.T) {
	a, b := pairOfConns(t)
	defer b.close()
	null, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer null.Close()
	require.NoError(t, a.send(pairMessage{kind: pairBegin, body: []byte("{}")}, null))
	_, files, err := b.receive(0)
	require.NoError(t, err)
	require.Len(t, files, 1)
	seqpacket.Close(files)
	require.NoError(t, a.send(pairMessage{kind: pairDrop, body: []byte("x")}, null))
	_, _, err = b.receive(0)
	require.ErrorContains(t, err, "descriptors")
	a.close()
	_, _, err = b.receive(0)
	require.ErrorIs(t, err, io.EOF)
}
