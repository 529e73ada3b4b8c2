package protocol

// This is the only file that knows the message library. It adds the checks
// that the library leaves out, each of which would panic on crafted bytes.

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/jackc/pgproto3/v2"
)

// encoder is a message that appends itself.
type encoder interface {
	Encode(dst []byte) ([]byte, error)
}

// Messages with fixed bytes.
var (
	copyBothResponse = []byte{'W', 0, 0, 0, 7, 0, 0, 0}
	copyDone         = []byte{'c', 0, 0, 0, 4}
)

type raw []byte

func (r raw) Encode(dst []byte) ([]byte, error) { return append(dst, r...), nil }

var errBadMessage = errors.New("invalid message format")

// violation turns a decoding error into what PostgreSQL answers.
func violation(what string, err error) *Error {
	return &Error{
		Severity: SeverityError, Code: CodeProtocolViolation,
		Message: fmt.Sprintf("invalid %s message", what), Err: err,
	}
}

func errorMessage(e *Error) encoder {
	return &pgproto3.ErrorResponse{
		Severity: e.severity(), SeverityUnlocalized: e.severity(), Code: e.SQLState(),
		Message: noNUL(e.Message), Detail: noNUL(e.Detail), Hint: noNUL(e.Hint),
	}
}

func noticeMessage(e *Error) encoder {
	severity := e.Severity
	if severity == "" {
		severity = SeverityNotice
	}
	code := e.Code
	if code == "" {
		code = CodeSuccessful
	}
	return &pgproto3.NoticeResponse{
		Severity: severity, SeverityUnlocalized: severity, Code: code,
		Message: noNUL(e.Message), Detail: noNUL(e.Detail), Hint: noNUL(e.Hint),
	}
}

func decodeError(body []byte) error {
	var m pgproto3.ErrorResponse
	if err := m.Decode(body); err != nil {
		return fmt.Errorf("decode ErrorResponse: %w", err)
	}
	severity := m.SeverityUnlocalized
	if severity == "" {
		severity = m.Severity
	}
	return &Error{Severity: severity, Code: m.Code, Message: m.Message, Detail: m.Detail, Hint: m.Hint}
}

// Authentication messages.
func authOk() encoder                 { return &pgproto3.AuthenticationOk{} }
func authCleartext() encoder          { return &pgproto3.AuthenticationCleartextPassword{} }
func authSASL(names []string) encoder { return &pgproto3.AuthenticationSASL{AuthMechanisms: names} }
func authContinue(d []byte) encoder   { return &pgproto3.AuthenticationSASLContinue{Data: d} }
func authFinal(d []byte) encoder      { return &pgproto3.AuthenticationSASLFinal{Data: d} }

func decodePassword(body []byte) (string, error) {
	var m pgproto3.PasswordMessage
	if err := m.Decode(body); err != nil || len(m.Password)+1 != len(body) {
		return "", violation("password", errBadMessage)
	}
	return m.Password, nil
}

func decodeSASLInitial(body []byte) (mechanism string, data []byte, err error) {
	zero := indexByte(body, 0)
	if zero < 0 || len(body) < zero+5 {
		return "", nil, violation("SASL", errBadMessage)
	}
	// Length -1 means "no initial response".
	if n := int32(binary.BigEndian.Uint32(body[zero+1:])); n != -1 && int(n) != len(body)-zero-5 {
		return "", nil, violation("SASL", errBadMessage)
	}
	var m pgproto3.SASLInitialResponse
	if err := m.Decode(body); err != nil {
		return "", nil, violation("SASL", err)
	}
	return m.AuthMechanism, append([]byte(nil), m.Data...), nil
}

// Session messages.
func parameterStatus(name, value string) encoder {
	return &pgproto3.ParameterStatus{Name: noNUL(name), Value: noNUL(value)}
}

func backendKey(pid, secret uint32) encoder {
	return &pgproto3.BackendKeyData{ProcessID: pid, SecretKey: secret}
}

func readyForQuery(status byte) encoder { return &pgproto3.ReadyForQuery{TxStatus: status} }

func commandComplete(tag string) encoder {
	return &pgproto3.CommandComplete{CommandTag: []byte(noNUL(tag))}
}

func emptyQuery() encoder      { return &pgproto3.EmptyQueryResponse{} }
func parseComplete() encoder   { return &pgproto3.ParseComplete{} }
func bindComplete() encoder    { return &pgproto3.BindComplete{} }
func closeComplete() encoder   { return &pgproto3.CloseComplete{} }
func noData() encoder          { return &pgproto3.NoData{} }
func portalSuspended() encoder { return &pgproto3.PortalSuspended{} }

func parameterDescription() encoder { return &pgproto3.ParameterDescription{} }

// rowDescription describes columns; formats are those of a Bind, nil is text.
func rowDescription(columns []Column, formats []int16) encoder {
	m := &pgproto3.RowDescription{Fields: make([]pgproto3.FieldDescription, len(columns))}
	for i, c := range columns {
		oid, size := c.Wire()
		m.Fields[i] = pgproto3.FieldDescription{
			Name: []byte(noNUL(c.Name)), DataTypeOID: oid, DataTypeSize: size, TypeModifier: -1,
			Format: formatOf(formats, i),
		}
	}
	return m
}

// formatOf applies Bind's rule: none is text, one holds for all.
func formatOf(formats []int16, i int) int16 {
	switch {
	case len(formats) == 0:
		return 0
	case len(formats) == 1:
		return formats[0]
	default:
		return formats[i]
	}
}

func decodeQuery(body []byte) (string, error) {
	if len(body) == 0 {
		return "", violation("Query", errBadMessage)
	}
	var m pgproto3.Query
	if err := m.Decode(body); err != nil {
		return "", violation("Query", err)
	}
	return m.String, nil
}

func decodeParse(body []byte) (name, query string, err error) {
	var m pgproto3.Parse
	if err := m.Decode(body); err != nil {
		return "", "", violation("Parse", err)
	}
	return m.Name, m.Query, nil
}

// bind is what this server needs of a Bind message.
type bind struct {
	portal, statement string
	parameters        int
	formats           []int16
}

func decodeBind(body []byte) (bind, error) {
	if !validBind(body) {
		return bind{}, violation("Bind", errBadMessage)
	}
	var m pgproto3.Bind
	if err := m.Decode(body); err != nil {
		return bind{}, violation("Bind", err)
	}
	return bind{m.DestinationPortal, m.PreparedStatement, len(m.Parameters), m.ResultFormatCodes}, nil
}

// validBind walks the message; the library would follow a negative parameter
// length backwards.
func validBind(body []byte) bool {
	c := cursor{rest: body}
	c.text()
	c.text()
	c.skip(2 * int(c.word()))
	for n := c.word(); n > 0 && !c.bad; n-- {
		if size := int32(c.long()); size != -1 {
			c.skip(int(size))
		}
	}
	c.skip(2 * int(c.word()))
	return !c.bad && len(c.rest) == 0
}

func decodeExecute(body []byte) (portal string, maxRows uint32, err error) {
	var m pgproto3.Execute
	if err := m.Decode(body); err != nil {
		return "", 0, violation("Execute", err)
	}
	return m.Portal, m.MaxRows, nil
}

// decodeTarget reads Describe and Close, which have the same form.
func decodeTarget(what string, body []byte) (kind byte, name string, err error) {
	var m pgproto3.Describe
	if err := m.Decode(body); err != nil || m.ObjectType != 'S' && m.ObjectType != 'P' {
		return 0, "", violation(what, errBadMessage)
	}
	return m.ObjectType, m.Name, nil
}

// Messages that a client reads behind a stream.
func decodeColumns(body []byte) ([]string, error) {
	var m pgproto3.RowDescription
	if err := m.Decode(body); err != nil {
		return nil, fmt.Errorf("decode RowDescription: %w", err)
	}
	names := make([]string, len(m.Fields))
	for i, f := range m.Fields {
		names[i] = string(f.Name)
	}
	return names, nil
}

func decodeRow(body []byte) ([][]byte, error) {
	c := cursor{rest: body}
	row := make([][]byte, 0, 4)
	for n := c.word(); n > 0 && !c.bad; n-- {
		if size := int32(c.long()); size != -1 {
			row = append(row, append([]byte{}, c.bytes(int(size))...))
		} else {
			row = append(row, nil)
		}
	}
	if c.bad || len(c.rest) != 0 {
		return nil, fmt.Errorf("decode DataRow: %w", errBadMessage)
	}
	return row, nil
}

func decodeTag(body []byte) (string, error) {
	if len(body) == 0 || body[len(body)-1] != 0 {
		return "", fmt.Errorf("decode CommandComplete: %w", errBadMessage)
	}
	return string(body[:len(body)-1]), nil
}
