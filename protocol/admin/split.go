package admin

import "strings"

// Split cuts the text of a Query message into its statements, as
// PostgreSQL's scanner sees them: quotes, dollar quotes, escape strings and
// nested comments hide semicolons. Statements come without their semicolon and
// without surrounding blanks and comments; empty ones are left out.
func Split(query string) ([]string, error) {
	var statements []string
	start, end := -1, 0 // of the statement being read, without blanks around it
	flush := func() {
		if start >= 0 {
			statements = append(statements, query[start:end])
		}
		start = -1
	}
	for i := 0; i < len(query); {
		n, err := blankLength(query[i:])
		if err != nil {
			return nil, err
		}
		if n > 0 {
			i += n
			continue
		}
		if query[i] == ';' {
			flush()
			i++
			continue
		}
		if n, err = unitLength(query[i:]); err != nil {
			return nil, err
		}
		if start < 0 {
			start = i
		}
		i += n
		end = i
	}
	flush()
	return statements, nil
}

// unitLength measures what stands at the start of s and must not be cut: a
// quoted text, a word, or one other character.
func unitLength(s string) (int, error) {
	switch c := s[0]; {
	case c == '\'':
		_, n, err := quoted(s, "unterminated quoted string")
		return n, err
	case c == '"':
		_, n, err := quoted(s, "unterminated quoted identifier")
		return n, err
	case (c == 'E' || c == 'e') && len(s) > 1 && s[1] == '\'':
		return escapeStringLength(s)
	case c == '$':
		return dollarLength(s)
	case isLetter(c) || isDigit(c):
		i := 1
		for i < len(s) && (isLetter(s[i]) || isDigit(s[i]) || s[i] == '$') {
			i++
		}
		return i, nil
	}
	return 1, nil
}

func escapeStringLength(s string) (int, error) {
	for i := 2; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '\'':
			if i+1 >= len(s) || s[i+1] != '\'' {
				return i + 1, nil
			}
			i++
		}
	}
	return 0, Errorf(codeSyntaxError, "unterminated quoted string")
}

// dollarLength measures $tag$...$tag$, or the dollar alone when it opens none.
func dollarLength(s string) (int, error) {
	i := 1
	for i < len(s) && (isLetter(s[i]) || i > 1 && isDigit(s[i])) {
		i++
	}
	if i >= len(s) || s[i] != '$' {
		return 1, nil
	}
	tag := s[:i+1]
	end := strings.Index(s[len(tag):], tag)
	if end < 0 {
		return 0, Errorf(codeSyntaxError, "unterminated dollar-quoted string")
	}
	return 2*len(tag) + end, nil
}

// Words returns the leading unquoted words of a statement in upper case, up to
// the first token that is no word and at most n of them. It tells which kind of
// statement this is.
func Words(stmt string, n int) []string {
	l := lexer{rest: stmt}
	var words []string
	for len(words) < n {
		t, err := l.next()
		if err != nil || t.kind != tokenWord {
			break
		}
		words = append(words, strings.ToUpper(t.text))
	}
	return words
}

// HasParameters says whether a statement holds a parameter symbol ($1) outside
// of quotes and comments.
func HasParameters(stmt string) bool {
	for i := 0; i < len(stmt); {
		n, err := blankLength(stmt[i:])
		if err != nil {
			return false
		}
		if n == 0 {
			if stmt[i] == '$' && i+1 < len(stmt) && isDigit(stmt[i+1]) {
				return true
			}
			if n, err = unitLength(stmt[i:]); err != nil {
				return false
			}
		}
		i += n
	}
	return false
}
