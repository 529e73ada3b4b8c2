package admin

import "strings"

type tokenKind uint8

const (
	tokenEnd    tokenKind = iota
	tokenWord             // unquoted: keyword, identifier, number, LSN, ID
	tokenQuoted           // "identifier"
	tokenString           // 'literal'
	tokenPunct            // one other character
)

// token is one lexical unit. text has quotes removed; source is as written.
type token struct {
	kind   tokenKind
	text   string
	source string
	// tight says that nothing separates it from the token before.
	tight bool
}

// is says whether t is this keyword (any case) or punctuation.
func (t token) is(text string) bool {
	return (t.kind == tokenWord || t.kind == tokenPunct) && strings.EqualFold(t.text, text)
}

// identifier returns the name that t stands for: folded to lower case unless
// quoted.
func (t token) identifier() (string, bool) {
	switch {
	case t.kind == tokenQuoted && t.text != "":
		return t.text, true
	case t.kind == tokenWord && isIdentifier(t.text):
		return strings.ToLower(t.text), true
	}
	return "", false
}

func isIdentifier(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isLetter(c) && (i == 0 || !isDigit(c) && c != '$') {
			return false
		}
	}
	return s != ""
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c >= 0x80 }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isSpace(c byte) bool {
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f'
}

// lexer cuts a statement into tokens. Comments count as white space.
type lexer struct {
	rest string
}

// lex returns the tokens of a statement, without an end marker.
func lex(stmt string) ([]token, error) {
	l := lexer{rest: stmt}
	var tokens []token
	for {
		t, err := l.next()
		if err != nil {
			return nil, err
		}
		if t.kind == tokenEnd {
			return tokens, nil
		}
		tokens = append(tokens, t)
	}
}

func (l *lexer) next() (token, error) {
	skipped, err := l.skipBlank()
	if err != nil || l.rest == "" {
		return token{}, err
	}
	t := token{tight: !skipped}
	var n int
	switch c := l.rest[0]; {
	case c == '\'':
		t.kind = tokenString
		t.text, n, err = quoted(l.rest, "unterminated quoted string")
	case c == '"':
		t.kind = tokenQuoted
		t.text, n, err = quoted(l.rest, "unterminated quoted identifier")
	case isLetter(c) || isDigit(c):
		t.kind, n = tokenWord, wordLength(l.rest)
		t.text = l.rest[:n]
	default:
		t.kind, n = tokenPunct, 1
		t.text = l.rest[:1]
	}
	if err != nil {
		return token{}, err
	}
	t.source = l.rest[:n]
	l.rest = l.rest[n:]
	return t, nil
}

// wordLength takes in what commands of ours write without quotes: names with
// dots, numbers, LSNs, identifiers of 32 hexadecimal digits, names with dashes.
func wordLength(s string) int {
	for i := range len(s) {
		c := s[i]
		if isLetter(c) || isDigit(c) || c == '$' {
			continue
		}
		next := byte(0)
		if i+1 < len(s) {
			next = s[i+1]
		}
		if (c == '/' || c == '.' || c == '-' || c == ':') && (isLetter(next) || isDigit(next)) {
			continue
		}
		return i
	}
	return len(s)
}

// quoted reads a quoted text whose quotes are doubled inside, and returns how
// long it was with them.
func quoted(s, unterminated string) (text string, n int, err error) {
	quote := s[0]
	for i := 1; i < len(s); i++ {
		if s[i] != quote {
			continue
		}
		if i+1 < len(s) && s[i+1] == quote {
			i++
			continue
		}
		q := string(quote)
		return strings.ReplaceAll(s[1:i], q+q, q), i + 1, nil
	}
	return "", 0, Errorf(codeSyntaxError, "%s", unterminated)
}

// skipBlank passes over white space and comments.
func (l *lexer) skipBlank() (skipped bool, err error) {
	for l.rest != "" {
		n, err := blankLength(l.rest)
		if err != nil || n == 0 {
			return skipped, err
		}
		l.rest = l.rest[n:]
		skipped = true
	}
	return skipped, nil
}

// blankLength measures one white space character or one comment at the start of
// s; block comments nest, as in SQL.
func blankLength(s string) (int, error) {
	switch {
	case isSpace(s[0]):
		return 1, nil
	case strings.HasPrefix(s, "--"):
		if i := strings.IndexByte(s, '\n'); i >= 0 {
			return i + 1, nil
		}
		return len(s), nil
	case strings.HasPrefix(s, "/*"):
		depth := 0
		for i := 0; i+1 < len(s); i++ {
			switch s[i : i+2] {
			case "/*":
				depth++
				i++
			case "*/":
				depth--
				i++
			}
			if depth == 0 {
				return i + 1, nil
			}
		}
		return 0, Errorf(codeSyntaxError, "unterminated /* comment")
	}
	return 0, nil
}
