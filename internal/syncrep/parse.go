package syncrep

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Parse reads a value of synchronous_standby_names: names, or [FIRST] n (names), or
// ANY n (names). It takes what PostgreSQL takes.
func Parse(value string) (List, error) {
	if value == "" {
		return List{}, nil
	}
	l, err := parse(scan(value))
	if err != nil {
		return List{}, fmt.Errorf("synchronous_standby_names '%s': %w", value, err)
	}
	return l, nil
}

func parse(tokens []token) (l List, err error) {
	l.Count = 1
	method := len(tokens) > 0 && (tokens[0].kind == anyWord || tokens[0].kind == firstWord)
	if method {
		l.Any = tokens[0].kind == anyWord
		tokens = tokens[1:]
	}
	switch counted := len(tokens) > 1 && tokens[0].kind == aNumber && tokens[1].kind == '('; {
	case counted && tokens[len(tokens)-1].kind != ')':
		return l, errors.New("the list has no ) at its end")
	case counted:
		if l.Count, err = count(tokens[0].text); err != nil {
			return l, err
		}
		tokens = tokens[2 : len(tokens)-1]
	case method:
		return l, errors.New("a number and a list in parentheses have to follow ANY and FIRST")
	}
	for i, t := range tokens {
		switch {
		case i%2 == 1 && t.kind == ',':
		case i%2 == 0 && (t.kind == aName || t.kind == aNumber):
			l.Names = append(l.Names, t.text)
		default:
			return l, fmt.Errorf("unexpected %q", t.text)
		}
	}
	if len(tokens)%2 == 0 {
		return l, errors.New("a name is missing at the end of the list")
	}
	return l, nil
}

// count is what PostgreSQL's atoi makes of digits, which has 32 bits.
func count(text string) (int, error) {
	long, _ := strconv.ParseInt(text, 10, 64) // the largest, where it is more
	n := int32(long)
	if n <= 0 {
		return 0, fmt.Errorf("%s is no number of standbys", text)
	}
	return int(n), nil
}

// kind of a token; a mark is its own.
type kind byte

const (
	aName kind = iota + 'a'
	aNumber
	anyWord
	firstWord
	junk
)

type token struct {
	kind kind
	text string // of a quoted name, what it stands for
}

const (
	space   = " \t\n\r\f\v"
	digits  = "0123456789"
	letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"
)

// scan takes a value apart.
func scan(s string) (tokens []token) {
	for s = strings.TrimLeft(s, space); s != ""; s = strings.TrimLeft(s, space) {
		t, size := tokenAt(s)
		tokens, s = append(tokens, t), s[size:]
	}
	return tokens
}

// tokenAt is the token at the beginning of s, which is not empty, and its size there
// in bytes.
func tokenAt(s string) (t token, size int) {
	switch c := s[0]; {
	case c == '"':
		return quotedAt(s)
	case c == '*':
		return token{aName, everybody}, 1
	case strings.IndexByte(",()", c) >= 0:
		return token{kind(c), s[:1]}, 1
	case isDigit(c):
		size = span(s, isDigit)
		return token{aNumber, s[:size]}, size
	case isLetter(c):
		size = span(s, func(c byte) bool { return isLetter(c) || isDigit(c) || c == '$' })
		switch word := s[:size]; fold(word) {
		case "any":
			return token{anyWord, word}, size
		case "first":
			return token{firstWord, word}, size
		default:
			return token{aName, word}, size
		}
	}
	return token{junk, s[:1]}, 1
}

// quotedAt is the name in quotation marks at the beginning of s; a doubled mark
// stands for one.
func quotedAt(s string) (t token, size int) {
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] != '"':
		case i+1 < len(s) && s[i+1] == '"':
			i++
		default:
			return token{aName, strings.ReplaceAll(s[1:i], `""`, `"`)}, i + 1
		}
	}
	return token{junk, s}, len(s)
}

func isDigit(c byte) bool { return strings.IndexByte(digits, c) >= 0 }

// isLetter says whether a name can begin with a byte; it can with every one beyond
// ASCII.
func isLetter(c byte) bool { return c >= 0x80 || strings.IndexByte(letters, c) >= 0 }

// span is how many bytes at the beginning of s are of a class.
func span(s string, class func(byte) bool) int {
	for i := range len(s) {
		if !class(s[i]) {
			return i
		}
	}
	return len(s)
}

// quote writes a name so that it is read back as it is.
func quote(n string) string {
	if n != "" {
		if t, size := tokenAt(n); t == (token{aName, n}) && size == len(n) {
			return n
		}
	}
	return `"` + strings.ReplaceAll(n, `"`, `""`) + `"`
}

// fold makes names alike that differ in case only: in ASCII, beyond which
// PostgreSQL asks the server's locale.
func fold(n string) string {
	b := []byte(n)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
