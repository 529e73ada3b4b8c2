package protocol

// statements holds what the extended protocol keeps between messages.
type statements struct {
	byName map[string]*statement
	portal map[string]*portal
	bytes  int
}

type statement struct {
	text      string // "" is the empty query
	columns   []Column
	described bool
}

// portal is a bound statement. When an Execute limits its rows, all of them are
// kept here and handed out piece by piece.
type portal struct {
	stmt    *statement
	formats []int16
	ran     bool
	rows    [][]byte // encoded DataRows
	bytes   int
	next    int
	tag     string
}

func (p *portal) keep(values []any) error {
	row, err := appendRow(nil, values)
	if err != nil {
		return err
	}
	if p.bytes += len(row); p.bytes > maxPortalBytes {
		return Errorf(CodeLimitExceeded, "result is too big for fetching it in pieces").
			WithHint("Fetch all rows at once.")
	}
	p.rows = append(p.rows, row)
	return nil
}

func (s *statements) clear() { *s = statements{} }

func (s *statements) close(kind byte, name string) {
	if kind == 'P' {
		delete(s.portal, name)
		return
	}
	if st := s.byName[name]; st != nil {
		s.bytes -= len(st.text)
		delete(s.byName, name)
	}
}

// endCycle drops what does not outlive a command cycle or transaction.
func (s *statements) endCycle(simple bool) {
	s.portal = nil
	if simple {
		s.close('S', "")
	}
}

func (s *statements) add(name string, st *statement) error {
	if name == "" {
		s.close('S', name)
	} else if s.byName[name] != nil {
		return Errorf(CodeDuplicateStatement, "prepared statement %q already exists", name)
	}
	if len(s.byName) >= maxStatements || s.bytes+len(st.text) > maxStatementBytes {
		return Errorf(CodeLimitExceeded, "too many prepared statements in this session")
	}
	if s.byName == nil {
		s.byName = make(map[string]*statement)
	}
	s.bytes += len(st.text)
	s.byName[name] = st
	return nil
}

func (s *statements) bind(name string, p *portal) error {
	if _, replaced := s.portal[name]; name != "" && replaced {
		return Errorf("42P03", "cursor %q already exists", name)
	}
	if len(s.portal) >= maxStatements {
		return Errorf(CodeLimitExceeded, "too many portals in this session")
	}
	if s.portal == nil {
		s.portal = make(map[string]*portal)
	}
	s.portal[name] = p
	return nil
}
