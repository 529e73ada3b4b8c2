package pageserver

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/walhaven/walhaven/internal/walcmd"
	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pageread"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/pagestream"
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// pageCommand reads "pagestream_v3 <tenant> <timeline>".
func pageCommand(stmt string) (v pagestream.Version, target walcmd.Target, ok bool, err error) {
	words := strings.Fields(strings.TrimSuffix(stmt, ";"))
	if len(words) == 0 {
		return 0, target, false, nil
	}
	switch strings.ToLower(words[0]) {
	case "pagestream_v2":
		v = pagestream.Version2
	case "pagestream_v3":
		v = pagestream.Version3
	default:
		return 0, target, false, nil
	}
	if len(words) != 3 {
		return 0, target, true, protocol.Errorf(protocol.CodeSyntaxError, "%s needs a tenant and a timeline", words[0])
	}
	return v, walcmd.Target{Tenant: strings.ToLower(words[1]), Timeline: words[2]}, true, nil
}

// pageRequests serves page requests until the client ends the stream.
func (s *Server) pageRequests(ctx context.Context, session *protocol.Session, v pagestream.Version, target walcmd.Target, w *protocol.ResultWriter) error {
	if tenant := session.Identity.Tenant; tenant != nil && target.Tenant != tenant.String() {
		return protocol.Errorf(protocol.CodeInsufficientRight, "role %q may use tenant %s only", session.Identity.User, *tenant)
	}
	t, found, err := s.timelines.find(target)
	if err != nil {
		return err
	}
	if !found {
		return target.Missing()
	}
	if !session.Identity.Permits(t.id) {
		return protocol.Errorf(protocol.CodeInsufficientRight, "role %q may not use timeline %s", session.Identity.User, t.id.Timeline)
	}
	reader, err := t.pages.use()
	if err != nil {
		return err
	}
	stream, err := w.CopyBoth()
	if err != nil {
		return err
	}
	p := &pageSession{stream: stream, reader: reader, version: v, metrics: s.requests, parallel: make(chan struct{}, s.o.Processors)}
	return p.run(ctx)
}

// maxBatch bounds the requests that are worked on at a time.
const maxBatch = 32

// pageSession is one client's stream of page requests. Those that have arrived
// together are worked on together; answers leave in order.
type pageSession struct {
	stream   *protocol.CopyStream
	reader   *pageread.Reader
	version  pagestream.Version
	metrics  *requestMetrics
	parallel chan struct{} // a token for each request that is worked on aside

	jobs  [maxBatch]pageJob
	began time.Time // when the requests in jobs had arrived
	head  []byte
}

// pageJob is one request and its answer.
type pageJob struct {
	request pagestream.Request
	answer  pagestream.Response
	page    *page.Page    // GetPage's; shared, not to be written to
	done    chan struct{} // nil when the answer is there, or is to be made in turn
	inTurn  bool          // the answer is made when those before it have left
}

func (p *pageSession) run(ctx context.Context) error {
	held := false // answers are in the stream's buffer, which those that wait do not send
	for {
		n, err := p.receive()
		if err != nil {
			return streamEnd(ctx, err)
		}
		for i := range n {
			p.begin(ctx, &p.jobs[i], n == 1 && !held)
		}
		err = p.answerAll(ctx, n)
		held = p.stream.Buffered()
		if err == nil && !held {
			err = p.stream.Flush()
		}
		if err != nil {
			return streamEnd(ctx, err)
		}
	}
}

// receive waits for a request and takes those that have arrived with it.
func (p *pageSession) receive() (n int, err error) {
	for n < maxBatch && (n == 0 || p.stream.Buffered()) {
		msg, err := p.stream.Receive()
		if err != nil {
			if n > 0 {
				return n, nil // It comes again behind the answers.
			}
			return 0, err
		}
		if err := pagestream.DecodeRequest(p.version, msg, &p.jobs[n].request); err != nil {
			return 0, protocol.Errorf(protocol.CodeProtocolViolation, "%w", err)
		}
		n++
	}
	p.began = time.Now()
	p.metrics.batch.Observe(float64(n))
	return n, nil
}

// begin answers what can be answered at once, and what is alone: nothing waits for
// the session's goroutine meanwhile, and another one would have to be woken. The rest
// it hands to goroutines, for which answerAll waits.
func (p *pageSession) begin(ctx context.Context, j *pageJob, alone bool) {
	q := &j.request
	j.answer = pagestream.Response{Request: *q}
	j.page, j.done, j.inTurn = nil, nil, false
	if q.Kind == pagestream.GetPage && validRelation(q) == nil && q.NotModifiedSince <= p.reader.Last() {
		at, err := p.reader.At(ctx, q.LSN, q.NotModifiedSince)
		if err == nil {
			j.page = p.reader.Cached(relation(q), walrecord.Fork(q.Fork), q.Block, at)
		}
		if j.page != nil {
			return
		}
	}
	if alone {
		p.work(ctx, j)
		return
	}
	if q.Kind == pagestream.GetSlruSegment {
		j.inTurn = true // It is as large as many pages: one at a time is in memory.
		return
	}
	j.done = make(chan struct{})
	go func() {
		defer close(j.done)
		p.work(ctx, j)
	}()
}

// work answers a request, with what failed if need be.
func (p *pageSession) work(ctx context.Context, j *pageJob) {
	if err := p.answer(ctx, j); err != nil {
		p.metrics.failures.Inc()
		j.answer.Failure = failureText(err)
	}
}

// failureText is an error without what an error message cannot carry.
func failureText(err error) string {
	text := strings.ReplaceAll(err.Error(), "\x00", "")
	return text[:min(len(text), 1000)]
}

// answerAll sends the answers in order. What is ready leaves before anything is
// waited for.
func (p *pageSession) answerAll(ctx context.Context, n int) error {
	var failed error
	for i := range n {
		j := &p.jobs[i]
		if j.inTurn && failed == nil {
			if failed = p.stream.Flush(); failed == nil {
				p.work(ctx, j)
			}
		}
		if j.done != nil {
			select {
			case <-j.done:
			default:
				if failed == nil {
					failed = p.stream.Flush()
				}
				<-j.done
			}
		}
		if failed == nil {
			failed = p.send(j, i+1 < n)
		}
		j.page, j.answer.Pages = nil, nil // A client that asks for no more holds no memory.
	}
	return failed
}

// send writes an answer, or keeps it when more follow.
func (p *pageSession) send(j *pageJob, more bool) error {
	p.metrics.seconds[j.request.Kind].Observe(time.Since(p.began).Seconds())
	p.head = pagestream.AppendResponseHead(p.head[:0], p.version, &j.answer)
	switch {
	case j.answer.Failure != "":
		return p.stream.Send(p.head)
	case j.page != nil && more:
		return p.stream.SendKept(p.head, j.page[:])
	case j.page != nil:
		return p.stream.Send(p.head, j.page[:])
	}
	return p.stream.Send(p.head, j.answer.Pages)
}

// answer works one request out.
func (p *pageSession) answer(ctx context.Context, j *pageJob) error {
	q := &j.request
	if err := validRelation(q); err != nil {
		return err
	}
	at, err := p.reader.At(ctx, q.LSN, q.NotModifiedSince)
	if err != nil {
		return err
	}
	p.parallel <- struct{}{} // Not while waiting for WAL.
	defer func() { <-p.parallel }()
	rel, fork := relation(q), walrecord.Fork(q.Fork)
	switch q.Kind {
	case pagestream.Exists:
		j.answer.Exists, err = p.reader.Exists(ctx, rel, fork, at)
	case pagestream.Nblocks:
		j.answer.Blocks, err = p.reader.Size(ctx, rel, fork, at)
		if hint := fork == walrecord.ForkFSM || fork == walrecord.ForkVM; hint && errors.Is(err, pageread.ErrNoRelation) {
			err = nil // A map that does not exist yet has no pages.
		}
	case pagestream.GetPage:
		j.page, err = p.reader.Page(ctx, rel, fork, q.Block, at)
	case pagestream.DBSize:
		j.answer.Bytes, err = p.reader.DatabaseSize(ctx, q.Database, at)
	case pagestream.GetSlruSegment:
		if q.SLRU > pagestream.SlruMultixactOffsets {
			return protocol.Errorf(protocol.CodeInvalidParameter, "there is no SLRU %d", q.SLRU)
		}
		j.answer.Pages, err = p.reader.SLRUSegment(ctx, pagekey.SLRU(q.SLRU), q.Segment, at, nil)
	}
	return err
}

func relation(q *pagestream.Request) walrecord.RelFile {
	return walrecord.RelFile{Tablespace: q.Tablespace, Database: q.Database, Relation: q.Relation}
}

// validRelation refuses names that no relation has.
func validRelation(q *pagestream.Request) error {
	if q.Kind > pagestream.GetPage {
		return nil
	}
	if q.Relation == 0 || q.Fork > uint8(walrecord.ForkInit) {
		return protocol.Errorf(protocol.CodeInvalidParameter, "relation %s has no fork %d", relation(q), q.Fork)
	}
	return nil
}
