package protocol

import (
	"strings"

	"github.com/walhaven/walhaven/protocol/admin"
)

// utility answers the statements that drivers send around their work and that
// mean nothing here: transactions, settings, savepoints. It keeps the
// transaction status that clients steer by. done says that stmt was one of
// them.
func (c *conn) utility(stmt string, w *ResultWriter) (done bool, err error) {
	words := admin.Words(stmt, 3)
	first := ""
	if len(words) > 0 {
		first = words[0]
	}
	if tag, ok := c.transaction(first, words); ok {
		return true, w.Complete(tag)
	}
	if c.status == 'E' {
		return true, Errorf(CodeFailedTransaction,
			"current transaction is aborted, commands ignored until end of transaction block")
	}
	switch first {
	case "SAVEPOINT", "RELEASE", "RESET", "UNLISTEN", "LISTEN":
		return true, w.Complete(first)
	case "CLOSE":
		return true, w.Complete("CLOSE CURSOR")
	case "DEALLOCATE", "DISCARD":
		return true, c.discard(first, words, w)
	case "SET":
		return true, c.set(stmt, w)
	case "SELECT":
		return c.setConfig(stmt, w)
	}
	return false, nil
}

// transaction moves the transaction status and returns the command's tag.
func (c *conn) transaction(first string, words []string) (tag string, ok bool) {
	switch first {
	case "BEGIN":
		if c.status == 'I' {
			c.status = 'T'
		}
		return "BEGIN", true
	case "START":
		if len(words) < 2 || words[1] != "TRANSACTION" {
			return "", false
		}
		if c.status == 'I' {
			c.status = 'T'
		}
		return "START TRANSACTION", true
	case "COMMIT", "END":
		tag = "COMMIT"
		if c.status == 'E' {
			tag = "ROLLBACK"
		}
		c.status = 'I'
		return tag, true
	case "ROLLBACK", "ABORT":
		if len(words) > 1 && words[1] == "TO" {
			if c.status == 'E' {
				c.status = 'T'
			}
		} else {
			c.status = 'I'
		}
		return "ROLLBACK", true
	}
	return "", false
}

func (c *conn) discard(first string, words []string, w *ResultWriter) error {
	if len(words) < 2 || words[1] == "ALL" || words[1] == "PLANS" {
		c.prepared.clear()
		return w.Complete(first + " ALL")
	}
	c.prepared.close('S', strings.ToLower(words[len(words)-1]))
	return w.Complete(first)
}

// set handles SET. Values of parameters that clients are told about are checked
// where a wrong one would change what we must send.
func (c *conn) set(stmt string, w *ResultWriter) error {
	a, err := admin.ParseSet(stmt)
	if err != nil {
		return err
	}
	if a.Name != "" && !a.Default {
		if err := c.assign(a.Name, a.Value, w); err != nil {
			return err
		}
	}
	return w.Complete("SET")
}

func (c *conn) assign(name, value string, w *ResultWriter) error {
	switch strings.ToLower(name) {
	case "client_encoding":
		switch strings.ToUpper(strings.NewReplacer("-", "", "_", "").Replace(value)) {
		case "UTF8", "UNICODE":
			value = "UTF8"
		case "SQLASCII":
			value = "SQL_ASCII"
		default:
			return Errorf(CodeInvalidParameter, "invalid value for parameter %q: %q", name, value).
				WithHint("Everything is sent as UTF8.")
		}
	case "datestyle":
		value = "ISO, MDY"
	case "standard_conforming_strings", "integer_datetimes":
		if on, err := admin.ParseBool(name, value); err != nil || !on {
			return Errorf(CodeInvalidParameter, "parameter %q is always on", name)
		}
		value = "on"
	case "server_version", "server_encoding", "is_superuser", "in_hot_standby", "session_authorization":
		return Errorf(CodeInvalidParameter, "parameter %q cannot be changed", name)
	case "application_name":
		c.session.ApplicationName = value
	}
	if len(c.session.set) >= maxSetParameters {
		return Errorf(CodeLimitExceeded, "too many parameters were set in this session")
	}
	if p, report := c.session.setParameter(name, value, false); report {
		w.Parameter(p.name, p.value)
	}
	return nil
}

// maxSetParameters bounds what a session remembers of SET.
const maxSetParameters = 500

// setConfig answers SELECT [pg_catalog.]set_config(name, value, local), which
// every libpq tool sends on a database-specific connection.
func (c *conn) setConfig(stmt string, w *ResultWriter) (done bool, err error) {
	name, value, ok := admin.ParseSetConfig(stmt)
	if !ok {
		return false, nil
	}
	if err := c.assign(name, value, w); err != nil {
		return true, err
	}
	if err := w.Columns(Column{Name: "set_config"}); err != nil {
		return true, err
	}
	if err := w.Row(value); err != nil {
		return true, err
	}
	return true, w.Complete("SELECT 1")
}

// isUtility says whether utility answers a statement without columns.
func isUtility(stmt string) bool {
	words := admin.Words(stmt, 2)
	if len(words) == 0 {
		return false
	}
	switch words[0] {
	case "BEGIN", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE", "RESET", "UNLISTEN",
		"LISTEN", "CLOSE", "DEALLOCATE", "DISCARD", "SET":
		return true
	case "START":
		return len(words) > 1 && words[1] == "TRANSACTION"
	}
	return false
}
