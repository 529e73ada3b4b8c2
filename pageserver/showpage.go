package pageserver

import (
	"context"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"

	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/pageread"
	"github.com/walhaven/walhaven/pagestore"
	"github.com/walhaven/walhaven/protocol"
	"github.com/walhaven/walhaven/protocol/admin"
	"github.com/walhaven/walhaven/redo/page"
	"github.com/walhaven/walhaven/wal"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Arguments that the commands about pages share.
var (
	argRelation = admin.Arg{Name: "relation", Help: "<tablespace>/<database>/<relfilenumber>, e.g. 1663/5/16384."}
	argFork     = admin.Arg{Name: "fork", Keyword: "FORK", Optional: true, Help: "main (default), fsm, vm or init."}
	argBlock    = admin.Arg{Name: "block", Keyword: "BLOCK", Kind: admin.KindUint32, Help: "Number of the block within the fork."}
	argLSN      = admin.Arg{Name: "lsn", Keyword: "AT LSN", Kind: admin.KindLSN, Optional: true, Help: "Position; without it and a time the newest."}
	argTime     = admin.Arg{Name: "time", Keyword: "AT TIME", Optional: true, Help: "Time with zone, e.g. 2026-11-22 10:42:07+01: what was committed up to then."}
)

// pageCommands are the commands about pages.
func (s *Server) pageCommands() []admin.Command {
	at := []admin.Arg{argLSN, argTime}
	return []admin.Command{
		{
			Name: "SHOW PAGE", Scope: admin.ScopeTimeline, Tag: "SHOW", Help: "A page as it was, with its header.",
			Args: append([]admin.Arg{argRelation, argFork, argBlock}, at...),
			Columns: append(admin.Text("at_lsn", "page_lsn", "checksum", "flags", "lower", "upper", "special", "page_size", "version",
				"prune_xid", "line_pointers"), admin.Column{Name: "page", Type: admin.TypeBytea, Help: "The page's 8192 bytes; the checksum is as in the WAL."}),
			Handler: s.onPages(showPage),
		},
		{
			Name: "SHOW RELATIONS", Scope: admin.ScopeTimeline, Tag: "SHOW", Help: "The forks of relations that existed, and their sizes.",
			Args: at, Columns: admin.Text("tablespace", "database", "relfilenumber", "fork", "blocks", "bytes"),
			Handler: s.onPages(showRelations),
		},
		{
			Name: "SHOW HISTORY OF PAGE", Scope: admin.ScopeTimeline, Tag: "SHOW",
			Help: "What changed a page, newest first, as far as it is kept.",
			Args: append([]admin.Arg{argRelation, argFork, argBlock}, append(at,
				admin.Arg{Name: "limit", Keyword: "LIMIT", Kind: admin.KindUint32, Optional: true, Help: "Rows at most (1000)."})...),
			Columns: admin.Text("lsn", "kind", "xid", "rmgr", "operation", "start_lsn", "stored_bytes", "description"),
			Handler: s.onPages(showHistory),
		},
		{
			Name: "SHOW SLRU", Scope: admin.ScopeTimeline, Tag: "SHOW", Help: "The segments of the SLRUs, and their sizes.",
			Args: at, Columns: admin.Text("slru", "segment", "pages"), Handler: s.onPages(showSLRU),
		},
	}
}

// pageCall is a command about pages.
type pageCall struct {
	*admin.Call
	reader *pageread.Reader
	at     pageread.At
}

// onPages makes a handler of a function that reads the timeline's pages.
func (s *Server) onPages(f func(ctx context.Context, c *pageCall, emit admin.Emit) error) admin.Func {
	return s.onTimeline(func(ctx context.Context, t *timeline, call *admin.Call, emit admin.Emit) error {
		reader, err := t.pages.use()
		if err != nil {
			return err
		}
		c := &pageCall{Call: call, reader: reader}
		if c.at, err = t.pages.at(ctx, call, reader); err != nil {
			return pageError(err)
		}
		return pageError(f(ctx, c, emit))
	})
}

// at is the position that a call names, waited for.
func (p *pages) at(ctx context.Context, call *admin.Call, reader *pageread.Reader) (pageread.At, error) {
	lsnText, timeText := call.Args[argLSN.Name], call.Args[argTime.Name]
	lsn := pageread.Latest
	switch {
	case lsnText != "" && timeText != "":
		return pageread.At{}, protocol.Errorf(protocol.CodeSyntaxError, "either a position or a time")
	case lsnText != "":
		lsn, _ = wal.ParseLSN(lsnText) // The table has checked it.
	case timeText != "":
		at, err := parseTime(timeText)
		if err != nil {
			return pageread.At{}, err
		}
		past, err := p.past()
		if err != nil {
			return pageread.At{}, err
		}
		m, err := past.atTime(ctx, at)
		if err != nil {
			return pageread.At{}, err
		}
		lsn = m.lsn
	}
	return reader.Exactly(ctx, lsn)
}

// relation reads the arguments that name a fork.
func (c *pageCall) relation() (rel walrecord.RelFile, fork walrecord.Fork, err error) {
	parts := strings.Split(c.Args[argRelation.Name], "/")
	numbers := [3]*uint32{&rel.Tablespace, &rel.Database, &rel.Relation}
	ok := len(parts) == len(numbers)
	for i := 0; ok && i < len(parts); i++ {
		n, err := strconv.ParseUint(parts[i], 10, 32)
		*numbers[i], ok = uint32(n), err == nil
	}
	if !ok {
		return rel, 0, protocol.Errorf(protocol.CodeInvalidParameter, "invalid relation %q", c.Args[argRelation.Name]).
			WithHint("Write <tablespace>/<database>/<relfilenumber>; pg_relation_filenode() and pg_database tell them.")
	}
	name := strings.ToLower(c.Args[argFork.Name])
	if name == "" {
		return rel, walrecord.ForkMain, nil
	}
	for fork := walrecord.ForkMain; fork <= walrecord.ForkInit; fork++ {
		if fork.String() == name {
			return rel, fork, nil
		}
	}
	return rel, 0, protocol.Errorf(protocol.CodeInvalidParameter, "there is no fork %q", name).WithHint("Forks are main, fsm, vm and init.")
}

func (c *pageCall) block() uint32 {
	n, _ := strconv.ParseUint(c.Args[argBlock.Name], 10, 32) // The table has checked it.
	return uint32(n)
}

func showPage(ctx context.Context, c *pageCall, emit admin.Emit) error {
	rel, fork, err := c.relation()
	if err != nil {
		return err
	}
	p, err := c.reader.Page(ctx, rel, fork, c.block(), c.at)
	if err != nil {
		return err
	}
	sizeVersion := binary.LittleEndian.Uint16(p[18:])
	return emit(c.at.LSN, p.LSN(), binary.LittleEndian.Uint16(p[8:]), p.Flags(), p.Lower(), p.Upper(), p.Special(),
		sizeVersion&0xff00, sizeVersion&0xff, binary.LittleEndian.Uint32(p[20:]), p.MaxOffset(), admin.Bytea(p[:]))
}

func showRelations(ctx context.Context, c *pageCall, emit admin.Emit) error {
	return c.reader.Relations(ctx, pagekey.Relations(), c.at, func(r pageread.Relation) error {
		return emit(r.Rel.Tablespace, r.Rel.Database, r.Rel.Relation, r.Fork, r.Blocks, uint64(r.Blocks)*page.Size)
	})
}

func showSLRU(ctx context.Context, c *pageCall, emit admin.Emit) error {
	for _, slru := range []pagekey.SLRU{pagekey.CLOG, pagekey.MultiXactOffsets, pagekey.MultiXactMembers, pagekey.CommitTS} {
		err := c.reader.SLRUSegments(ctx, slru, c.at, func(segment, pages uint32) error {
			return emit(slru.Dir(), segment, pages)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// errEnough ends a history at its limit.
var errEnough = errors.New("enough rows")

func showHistory(ctx context.Context, c *pageCall, emit admin.Emit) error {
	rel, fork, err := c.relation()
	if err != nil {
		return err
	}
	left := 1000
	if text := c.Args["limit"]; text != "" {
		left, _ = strconv.Atoi(text) // The table has checked it.
	}
	err = c.reader.History(ctx, rel, fork, c.block(), c.at, func(change pageread.Change) error {
		if left--; left < 0 {
			return errEnough
		}
		return emitChange(change, emit)
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

func emitChange(c pageread.Change, emit admin.Emit) error {
	r := c.Record
	switch {
	case c.Image && r == nil:
		return emit(c.LSN, "image", nil, nil, nil, nil, c.Bytes, "the whole page")
	case c.Image:
		return emit(c.LSN, "image", r.XID, r.RMID, walrecord.Identify(r), r.Start, c.Bytes, walrecord.Identify(r)+", the whole page after it")
	case r == nil:
		return emit(c.LSN, "change", nil, nil, nil, nil, c.Bytes, "change by a record that does not reference the page")
	}
	description := []byte(walrecord.Identify(r))
	for i := range r.Blocks {
		description = walrecord.AppendBlockRef(append(description, ", "...), &r.Blocks[i])
	}
	return emit(c.LSN, "record", r.XID, r.RMID, walrecord.Identify(r), r.Start, c.Bytes, string(description))
}

// pageError gives the errors of reading pages their codes.
func pageError(err error) error {
	var (
		wait      *pageread.WaitError
		collected *pageread.CollectedError
		damaged   *pagestore.CorruptionError
		custom    *pagekey.CustomError
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wait):
		return protocol.Errorf(protocol.CodeCannotConnectNow, "%w", err)
	case errors.As(err, &collected):
		return protocol.Errorf(protocol.CodeOutsideWindow, "%w", err)
	case errors.Is(err, pageread.ErrNoRelation), errors.Is(err, pageread.ErrNoDatabase):
		return protocol.Errorf(protocol.CodeUndefinedTable, "%w", err)
	case errors.As(err, &damaged):
		return protocol.Errorf(protocol.CodeDataCorrupted, "%w", err)
	case errors.Is(err, pagestore.ErrIO):
		return protocol.Errorf(protocol.CodeIOError, "%w", err).WithHint("The file may be whole: look at the disk, then ask again.")
	case errors.As(err, &custom):
		return protocol.Errorf(protocol.CodeFeatureNotSupported, "%w", err)
	}
	return err
}
