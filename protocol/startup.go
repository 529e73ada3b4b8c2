package protocol

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Codes of untyped first messages (src/include/libpq/pqcomm.h).
const (
	codeCancel = 1234<<16 | 5678
	codeSSL    = 1234<<16 | 5679
	codeGSS    = 1234<<16 | 5680

	protocol30 = 3 << 16
)

// startup is a parsed StartupMessage.
type startup struct {
	version    uint32
	params     map[string]string
	extensions []string // names of _pq_.* parameters, none of which we know
}

// parseStartup reads the body of a StartupMessage, after its length and version.
func parseStartup(version uint32, body []byte) (startup, error) {
	s := startup{version: version, params: make(map[string]string)}
	if len(body) == 0 || body[len(body)-1] != 0 {
		return s, Fatalf(CodeProtocolViolation,
			"invalid startup packet layout: expected terminator as last byte")
	}
	c := cursor{rest: body}
	for {
		name := c.text()
		if name == "" {
			break
		}
		value := c.text()
		if c.bad {
			break
		}
		if strings.HasPrefix(name, "_pq_.") {
			s.extensions = append(s.extensions, name)
			continue
		}
		s.params[name] = value
	}
	if c.bad || len(c.rest) != 0 {
		return s, Fatalf(CodeProtocolViolation,
			"invalid startup packet layout: expected terminator as last byte")
	}
	return s, nil
}

// checkVersion refuses what is not protocol 3.
func checkVersion(version uint32) error {
	if version>>16 == 3 {
		return nil
	}
	return Fatalf(CodeFeatureNotSupported,
		"unsupported frontend protocol %d.%d: server supports 3.0 to 3.0", version>>16, version&0xffff)
}

// oldStyleError is how a server answers protocol 2 and older: without a length.
func oldStyleError(e error) []byte {
	return append([]byte("EFATAL:  "+asError(e).Message+"\n"), 0)
}

// negotiation is the NegotiateProtocolVersion that answers s, nil when nothing
// has to be lowered or refused; libpq 18 rejects one that changes nothing.
func (s startup) negotiation() []byte {
	if s.version == protocol30 && len(s.extensions) == 0 {
		return nil
	}
	m := []byte{'v', 0, 0, 0, 0}
	m = binary.BigEndian.AppendUint32(m, protocol30)
	m = binary.BigEndian.AppendUint32(m, uint32(len(s.extensions)))
	for _, name := range s.extensions {
		m = append(append(m, name...), 0)
	}
	binary.BigEndian.PutUint32(m[1:], uint32(len(m)-1))
	return m
}

// session makes a Session of the parameters.
func (s startup) session() (*Session, error) {
	user := s.params["user"]
	if user == "" {
		return nil, Fatalf(CodeInvalidAuthorization, "no PostgreSQL user name specified in startup packet")
	}
	mode, err := parseReplication(s.params["replication"])
	if err != nil {
		return nil, err
	}
	database := s.params["database"]
	if database == "" {
		database = user
	}
	return &Session{
		Params: s.params, User: user, Database: database,
		ApplicationName: s.params["application_name"],
		Replication:     mode, Options: parseOptions(s.params["options"]),
		reported: make(map[string]parameter), set: make(map[string]parameter),
	}, nil
}

// parseReplication reads a boolean as parse_bool does (unique prefixes count),
// or the word "database".
func parseReplication(value string) (ReplicationMode, error) {
	if value == "database" {
		return Database, nil
	}
	word := strings.ToLower(value)
	switch {
	case word == "":
		return None, nil
	case word == "1", word == "on", begins(word, "true"), begins(word, "yes"):
		return Physical, nil
	case word == "0", word == "of", word == "off", begins(word, "false"), begins(word, "no"):
		return None, nil
	}
	return None, Fatalf(CodeInvalidParameter, "invalid value for parameter %q: %q", "replication", value)
}

// begins says whether part is the beginning of a word.
func begins(part, word string) bool { return strings.HasPrefix(word, part) }

// parseOptions reads the parameter "options", PostgreSQL's command line
// (pg_split_opts: blanks separate, a backslash quotes one character), and the
// form of Neon's clients, which leaves out "-c". Words without "=" are ignored.
// Dashes in the name of a long option stand for underscores.
func parseOptions(line string) map[string]string {
	options := make(map[string]string)
	for _, word := range splitOptions(line) {
		switch {
		case strings.HasPrefix(word, "--"):
			name, value, ok := strings.Cut(word[2:], "=")
			if ok && name != "" {
				options[strings.ReplaceAll(name, "-", "_")] = value
			}
			continue
		case strings.HasPrefix(word, "-c"):
			word = word[2:]
		}
		if name, value, ok := strings.Cut(word, "="); ok && name != "" {
			options[name] = value
		}
	}
	return options
}

func splitOptions(line string) []string {
	var words []string
	var word strings.Builder
	inWord := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f':
			if inWord {
				words = append(words, word.String())
				word.Reset()
			}
			inWord = false
			continue
		case c == '\\' && i+1 < len(line):
			i++
			word.WriteByte(line[i])
		case c == '\\':
		default:
			word.WriteByte(c)
		}
		inWord = true
	}
	if inWord {
		words = append(words, word.String())
	}
	return words
}

func (m ReplicationMode) String() string {
	switch m {
	case None:
		return "none"
	case Physical:
		return "physical"
	case Database:
		return "database"
	}
	return fmt.Sprintf("ReplicationMode(%d)", uint8(m))
}
