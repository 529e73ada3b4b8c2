package protocol

import (
	"context"

	"github.com/walhaven/walhaven/protocol/admin"
)

// extended handles the messages of the extended query protocol.
func (c *conn) extended(ctx context.Context, tag byte, body []byte) error {
	if c.session.Replication != None {
		return Errorf(CodeProtocolViolation,
			"extended query protocol not supported in a replication connection")
	}
	switch tag {
	case 'P':
		return c.parse(body)
	case 'B':
		return c.bind(ctx, body)
	case 'D':
		return c.describe(ctx, body)
	case 'E':
		return c.runPortal(ctx, body)
	default: // 'C', the only other type that the limits admit
		kind, name, err := decodeTarget("Close", body)
		if err != nil {
			return err
		}
		c.prepared.close(kind, name)
		return c.say(closeComplete())
	}
}

func (c *conn) parse(body []byte) error {
	name, query, err := decodeParse(body)
	if err != nil {
		return err
	}
	list, err := admin.Split(query)
	if err != nil {
		return err
	}
	st := &statement{}
	switch len(list) {
	case 0:
	case 1:
		st.text = list[0]
	default:
		return Errorf(CodeSyntaxError, "cannot insert multiple commands into a prepared statement")
	}
	if admin.HasParameters(st.text) {
		return Errorf(CodeFeatureNotSupported, "commands take no parameters").
			WithHint("Write the values into the command.")
	}
	if err := c.prepared.add(name, st); err != nil {
		return err
	}
	return c.say(parseComplete())
}

func (c *conn) bind(ctx context.Context, body []byte) error {
	b, err := decodeBind(body)
	if err != nil {
		return err
	}
	st := c.prepared.byName[b.statement]
	if st == nil {
		return noStatement(b.statement)
	}
	if b.parameters != 0 {
		return Errorf(CodeProtocolViolation,
			"bind message supplies %d parameters, but prepared statement %q requires 0", b.parameters, b.statement)
	}
	columns, err := c.columnsOf(ctx, st)
	if err != nil {
		return err
	}
	if len(b.formats) > 1 && len(b.formats) != len(columns) {
		return Errorf(CodeProtocolViolation,
			"bind message has %d result formats but query has %d columns", len(b.formats), len(columns))
	}
	for _, f := range b.formats {
		if f != 0 && f != 1 {
			return Errorf(CodeInvalidParameter, "unsupported format code: %d", f)
		}
	}
	if err := c.prepared.bind(b.portal, &portal{stmt: st, formats: b.formats}); err != nil {
		return err
	}
	return c.say(bindComplete())
}

func noStatement(name string) error {
	if name == "" {
		return Errorf(CodeUnknownStatement, "unnamed prepared statement does not exist")
	}
	return Errorf(CodeUnknownStatement, "prepared statement %q does not exist", name)
}

// columnsOf asks the handler once a statement. All columns are declared text,
// of which the binary and the text format are the same bytes.
func (c *conn) columnsOf(ctx context.Context, st *statement) ([]Column, error) {
	if st.described || st.text == "" {
		return st.columns, nil
	}
	columns, err := c.describeStatement(ctx, st.text)
	if err != nil {
		return nil, err
	}
	st.columns = make([]Column, len(columns))
	for i, column := range columns {
		st.columns[i] = Column{Name: column.Name}
	}
	st.described = true
	return st.columns, nil
}

func (c *conn) describeStatement(ctx context.Context, text string) ([]Column, error) {
	if isUtility(text) {
		return nil, nil
	}
	if _, _, ok := admin.ParseSetConfig(text); ok {
		return []Column{{Name: "set_config"}}, nil
	}
	ctx, done := c.backend.command(ctx)
	defer done()
	return c.srv.h.Describe(ctx, c.session, text)
}

func (c *conn) describe(ctx context.Context, body []byte) error {
	kind, name, err := decodeTarget("Describe", body)
	if err != nil {
		return err
	}
	var st *statement
	var formats []int16
	if kind == 'S' {
		if st = c.prepared.byName[name]; st == nil {
			return noStatement(name)
		}
	} else {
		p := c.prepared.portal[name]
		if p == nil {
			return Errorf(CodeUnknownCursor, "portal %q does not exist", name)
		}
		st, formats = p.stmt, p.formats
	}
	columns, err := c.columnsOf(ctx, st)
	if err != nil {
		return err
	}
	if kind == 'S' {
		if err := c.say(parameterDescription()); err != nil {
			return err
		}
	}
	if len(columns) == 0 {
		return c.say(noData())
	}
	return c.say(rowDescription(columns, formats))
}

// runPortal handles Execute.
func (c *conn) runPortal(ctx context.Context, body []byte) error {
	name, maxRows, err := decodeExecute(body)
	if err != nil {
		return err
	}
	p := c.prepared.portal[name]
	switch {
	case p == nil:
		return Errorf(CodeUnknownCursor, "portal %q does not exist", name)
	case p.stmt.text == "":
		return c.say(emptyQuery())
	case p.ran:
		return c.fetch(p, maxRows)
	}
	p.ran = true
	w := &ResultWriter{c: c, columns: -1, described: p.stmt}
	if maxRows > 0 && len(p.stmt.columns) > 0 {
		w.kept = p
	}
	if err := c.execute(ctx, p.stmt.text, w); err != nil {
		return err
	}
	if w.kept != nil {
		return c.fetch(p, maxRows)
	}
	return nil
}

// fetch hands out kept rows. A portal that has none left answers with its tag,
// as PostgreSQL does for a finished portal with no rows.
func (c *conn) fetch(p *portal, maxRows uint32) error {
	rest := len(p.rows) - p.next
	n := rest
	if maxRows > 0 && uint64(maxRows) < uint64(rest) {
		n = int(maxRows)
	}
	for range n {
		if err := c.say(raw(p.rows[p.next])); err != nil {
			return err
		}
		p.rows[p.next] = nil
		p.next++
	}
	if n < rest {
		return c.say(portalSuspended())
	}
	tag := p.tag
	if tag == "" {
		tag = "SELECT 0"
	}
	return c.say(commandComplete(tag))
}
