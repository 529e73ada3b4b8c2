package protocol

// ResultWriter takes the answer of one statement. It belongs to the session's
// goroutine; only the CopyStream that it hands out may be used from others.
type ResultWriter struct{}

// Columns announces the columns of a result; a statement may return several.
func (w *ResultWriter) Columns(columns ...Column) error { panic("todo") }

// Row adds a row. A nil is NULL; text is taken from strings, integers, bools
// ("t", "f"), fmt.Stringer, encoding.TextMarshaler; []byte is sent as it is.
func (w *ResultWriter) Row(values ...any) error { panic("todo") }

// Complete ends a result with its command tag, e.g. "SHOW".
func (w *ResultWriter) Complete(tag string) error { panic("todo") }

// Notice sends a NoticeResponse; severity "" counts as NOTICE.
func (w *ResultWriter) Notice(n *Error) error { panic("todo") }

// Parameter reports a changed parameter.
func (w *ResultWriter) Parameter(name, value string) error { panic("todo") }

// CopyBoth sends CopyBothResponse and hands out the stream, which ends with the
// context of Execute. When Execute returns, the server finishes the CopyDone
// handshake; Execute may go on with Columns, Row and Complete after it called
// the stream's Handshake itself.
func (w *ResultWriter) CopyBoth() (*CopyStream, error) { panic("todo") }
