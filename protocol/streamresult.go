package protocol

import "fmt"

// Result is what a server says behind a stream.
type Result struct {
	Columns []string
	Rows    [][][]byte // nil is NULL
	Tags    []string   // one a CommandComplete
}

// maxResultRows bounds what a client keeps of the answer behind a stream, which
// is one row from every server known.
const maxResultRows = 1000

// ReadResult reads, on the client's side, the rest of the answer up to
// ReadyForQuery: after Handshake e.g. the row that names the next timeline. An
// ErrorResponse in it is returned as *Error. Afterwards the connection is idle
// and no byte of it is buffered here.
func (c *CopyStream) ReadResult() (Result, error) {
	var res Result
	var failed error
	for {
		tag, body, err := c.wire.in.next()
		if err != nil {
			return res, c.receiveFailed(err)
		}
		switch tag {
		case 'Z':
			return res, failed
		case 'E':
			failed = decodeError(body)
		default:
			if err := res.add(tag, body); err != nil {
				return res, err
			}
		}
	}
}

func (r *Result) add(tag byte, body []byte) (err error) {
	switch tag {
	case 'T':
		r.Columns, err = decodeColumns(body)
	case 'D':
		if len(r.Rows) == maxResultRows {
			return fmt.Errorf("read result: more than %d rows", maxResultRows)
		}
		var row [][]byte
		row, err = decodeRow(body)
		r.Rows = append(r.Rows, row)
	case 'C':
		var name string
		name, err = decodeTag(body)
		r.Tags = append(r.Tags, name)
	}
	return err
}
