package pageserver

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pagestream"
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/replication"
	"github.com/walhaven/walhaven/wal"
)

// client speaks page requests.
type client struct {
	t       testing.TB
	version pagestream.Version
	stream  *protocol.CopyStream
	buf     []byte
}

func (n *node) pageClient(v pagestream.Version) *client {
	n.t.Helper()
	command := fmt.Sprintf("PageStream_v%d %s %s", v, n.timeline.id.Tenant, n.timeline.id.Timeline)
	stream, err := replication.Dial(context.Background(), n.conninfo(), command, replication.DialOptions{})
	require.NoError(n.t, err)
	n.t.Cleanup(func() { _ = stream.Close() }) // The test is over.
	return &client{t: n.t, version: v, stream: stream}
}

func (c *client) send(q *pagestream.Request) {
	c.buf = pagestream.AppendRequest(c.buf[:0], c.version, q)
	require.NoError(c.t, c.stream.Send(c.buf))
}

func (c *client) receive() (r pagestream.Response) {
	c.t.Helper()
	msg, err := c.stream.Receive()
	require.NoError(c.t, err)
	require.NoError(c.t, pagestream.DecodeResponse(c.version, msg, &r))
	return r
}

func (c *client) ask(q pagestream.Request) pagestream.Response {
	c.t.Helper()
	c.send(&q)
	require.NoError(c.t, c.stream.Flush())
	return c.receive()
}

// readyNode is a pageserver with pages and all of the origin's WAL.
func readyNode(t testing.TB, o *origin) *node {
	n := startNode(t, o)
	n.push(o.end)
	require.NoError(t, n.importBase(0, true))
	n.eventually(func() bool { return n.status()["applied_lsn"] == o.end.String() && n.status()["pages"] == "active" })
	return n
}

// table asks for a block of the origin's table.
func (o *origin) table(kind pagestream.Kind, block uint32, lsn, since wal.LSN) pagestream.Request {
	q := pagestream.Request{Kind: kind, LSN: lsn, NotModifiedSince: since, Block: block}
	_, _ = fmt.Sscanf(o.relid, "%d/%d/%d", &q.Tablespace, &q.Database, &q.Relation)
	return q
}

func pageRequests(t *testing.T, o *origin) {
	n := readyNode(t, o)
	for _, v := range []pagestream.Version{pagestream.Version2, pagestream.Version3} {
		c := n.pageClient(v)
		answers(t, o, c)
		failures(t, o, c)
		pipelined(t, o, c)
	}
	c := n.pageClient(pagestream.Version3)
	require.NoError(t, c.stream.Send([]byte{2, 0}))
	require.NoError(t, c.stream.Flush())
	_, err := c.stream.Receive()
	require.Equal(t, protocol.CodeProtocolViolation, protocol.SQLState(err))

	for stmt, code := range map[string]string{
		"pagestream_v3 x": protocol.CodeSyntaxError,
		"pagestream_v3 " + strings.Repeat("0", 32) + " " + strings.Repeat("0", 32): protocol.CodeUndefinedObject,
	} {
		_, err := n.query(stmt)
		require.Equal(t, code, protocol.SQLState(err), stmt)
	}
}

func answers(t *testing.T, o *origin, c *client) {
	exists := c.ask(o.table(pagestream.Exists, 0, pagestream.Latest, o.end))
	require.True(t, exists.Exists, exists.Failure)
	missing := o.table(pagestream.Exists, 0, pagestream.Latest, o.end)
	missing.Relation = 999999
	require.False(t, c.ask(missing).Exists)
	blocks := c.ask(o.table(pagestream.Nblocks, 0, pagestream.Latest, o.end))
	require.Greater(t, blocks.Blocks, uint32(100), blocks.Failure)
	fsm := missing
	fsm.Kind, fsm.Fork = pagestream.Nblocks, 1
	require.Zero(t, c.ask(fsm).Blocks, "a map that does not exist has no pages")

	first := c.ask(o.table(pagestream.GetPage, 0, o.redo, o.redo))
	require.Len(t, first.Pages, page.Size, first.Failure)
	lsn := (*page.Page)(first.Pages).LSN()
	require.LessOrEqual(t, lsn, o.redo)
	last := c.ask(o.table(pagestream.GetPage, 0, pagestream.Latest, o.end))
	require.Greater(t, (*page.Page)(last.Pages).LSN(), lsn)
	beyond := c.ask(o.table(pagestream.GetPage, 1<<30, pagestream.Latest, o.end))
	require.Equal(t, make([]byte, page.Size), beyond.Pages)

	q := o.table(pagestream.DBSize, 0, pagestream.Latest, o.end)
	db := q.Database
	q = pagestream.Request{Kind: pagestream.DBSize, LSN: q.LSN, NotModifiedSince: q.NotModifiedSince, Database: db}
	require.Greater(t, c.ask(q).Bytes, int64(5<<20))
	slru := c.ask(pagestream.Request{Kind: pagestream.GetSlruSegment, LSN: pagestream.Latest, NotModifiedSince: o.end})
	require.Len(t, slru.Pages, page.Size, slru.Failure)
	require.NotEqual(t, make([]byte, page.Size), slru.Pages)
}

func failures(t *testing.T, o *origin, c *client) {
	for text, q := range map[string]pagestream.Request{
		"lies below not modified": o.table(pagestream.GetPage, 0, o.redo, o.end),
		"invalid request":         o.table(pagestream.GetPage, 0, 0, 0),
		"the oldest readable LSN": o.table(pagestream.GetPage, 0, o.redo-8, o.redo-8),
		"WAL up to " + (o.end + 8).String() + " has not arrived: the last LSN is " + o.end.String(): o.table(pagestream.GetPage, 0, pagestream.Latest, o.end+8),
		"does not exist at this LSN": {Kind: pagestream.Nblocks, LSN: o.end, NotModifiedSince: o.end, Relation: 5, Tablespace: 1663, Database: 5},
		"has no fork 9":              {Kind: pagestream.GetPage, LSN: o.end, NotModifiedSince: o.end, Relation: 5, Fork: 9},
		"relation 0/0/0":             {Kind: pagestream.GetPage, LSN: o.end, NotModifiedSince: o.end},
		"there is no SLRU 3":         {Kind: pagestream.GetSlruSegment, LSN: o.end, NotModifiedSince: o.end, SLRU: 3},
		"pg_xact/0FFF":               {Kind: pagestream.GetSlruSegment, LSN: o.end, NotModifiedSince: o.end, Segment: 0xfff},
	} {
		require.Contains(t, c.ask(q).Failure, text)
	}
	require.Empty(t, c.ask(o.table(pagestream.GetPage, 0, pagestream.Latest, o.end)).Failure, "the stream goes on")
}

// pipelined requests of all kinds, answered in order though one in between has to
// wait.
func pipelined(t *testing.T, o *origin, c *client) {
	const n = 500
	want := map[int]string{}
	for i := range n {
		q := o.table(pagestream.GetPage, uint32(i%100), o.ends[i%len(o.ends)], 0)
		q.ID = uint64(i)
		if i == 250 {
			q.LSN, q.NotModifiedSince = pagestream.Latest, o.end+8
			want[i] = "has not arrived"
		}
		if i%7 == 3 {
			q = pagestream.Request{Kind: pagestream.GetSlruSegment, ID: q.ID, LSN: q.LSN, NotModifiedSince: q.NotModifiedSince}
		}
		c.send(&q)
	}
	require.NoError(t, c.stream.Flush())
	for i := range n {
		r := c.receive()
		if c.version == pagestream.Version3 {
			require.Equal(t, uint64(i), r.Request.ID)
		}
		if text := want[i]; text != "" {
			require.Contains(t, r.Failure, text)
			continue
		}
		require.Empty(t, r.Failure)
		require.Len(t, r.Pages, page.Size)
		if r.Request.Kind == pagestream.GetPage {
			require.LessOrEqual(t, (*page.Page)(r.Pages).LSN(), o.ends[i%len(o.ends)])
		}
	}
}

// Segments that are asked for together are made one after the other, and nothing that
// was sent stays in memory: a client could have them all else, and be silent then.
func segmentsInTurn(t *testing.T, o *origin) {
	n := readyNode(t, o)
	reader, err := n.timeline.pages.use()
	require.NoError(t, err)
	p := &pageSession{reader: reader, metrics: n.server.requests, parallel: make(chan struct{}, 1)}
	j := pageJob{request: pagestream.Request{Kind: pagestream.GetSlruSegment, LSN: pagestream.Latest, NotModifiedSince: o.end}}
	p.begin(t.Context(), &j, false)
	require.Nil(t, j.done)
	require.Empty(t, j.answer.Pages)
	require.True(t, j.inTurn)
	p.begin(t.Context(), &j, true)
	require.Len(t, j.answer.Pages, page.Size)
	require.False(t, j.inTurn)
}

// Answers that wait in the stream's buffer because a request follows leave before that
// one, alone behind them, waits for WAL: here for WAL that comes only when they are
// there.
func answersLeaveBeforeALoneRequest(t *testing.T, o *origin) {
	n := startNode(t, o)
	n.timeline.pages.storage.waitTimeout = 30 * time.Second
	before := o.ends[len(o.ends)-2]
	n.push(before)
	require.NoError(t, n.importBase(0, true))
	n.eventually(func() bool { return n.status()["applied_lsn"] == before.String() && n.status()["pages"] == "active" })
	c := n.pageClient(pagestream.Version3)
	for range maxBatch {
		q := o.table(pagestream.Exists, 0, pagestream.Latest, before)
		c.send(&q)
	}
	last := o.table(pagestream.GetPage, 0, pagestream.Latest, o.end)
	c.send(&last)
	require.NoError(t, c.stream.Flush(), "all in one write")
	for range maxBatch {
		require.True(t, c.receive().Exists)
	}
	n.push(o.end)
	require.Empty(t, c.receive().Failure)
}
