package protocol

import (
	"sort"
	"strings"
)

// reportedParameters are what drivers need at connect: libpq parses
// server_version, pg_receivewal insists on integer_datetimes, pgx on
// standard_conforming_strings and UTF8, JDBC on DateStyle and client_encoding,
// and target_session_attrs on in_hot_standby.
var reportedParameters = map[string]string{
	"client_encoding":               "UTF8",
	"DateStyle":                     "ISO, MDY",
	"default_transaction_read_only": "off",
	"in_hot_standby":                "off",
	"integer_datetimes":             "on",
	"IntervalStyle":                 "postgres",
	"is_superuser":                  "off",
	"server_encoding":               "UTF8",
	"server_version":                "14.0 (walhaven)",
	"standard_conforming_strings":   "on",
	"TimeZone":                      "UTC",
}

// A parameter is reported under its own spelling and found under any.
type parameter struct{ name, value string }

// initialParameters merges the defaults, the server's, the session's own facts
// and the handler's, in rising order of precedence, sorted by name.
func (c *conn) initialParameters(settings Settings) []parameter {
	s := c.session
	merged := make(map[string]parameter)
	add := func(name, value string) {
		key := strings.ToLower(name)
		if known, ok := merged[key]; ok {
			name = known.name
		}
		merged[key] = parameter{name, value}
	}
	for name, value := range reportedParameters {
		add(name, value)
	}
	for name, value := range c.srv.o.Parameters {
		add(name, value)
	}
	add("application_name", s.ApplicationName)
	add("session_authorization", s.User)
	if zone := s.Params["TimeZone"]; zone != "" {
		add("TimeZone", zone)
	}
	if s.Identity.Admin {
		add("is_superuser", "on")
	}
	for name, value := range settings {
		add(name, value)
	}
	list := make([]parameter, 0, len(merged))
	for _, p := range merged {
		list = append(list, p)
	}
	sort.Slice(list, func(i, k int) bool { return list[i].name < list[k].name })
	return list
}

// setParameter remembers a parameter and says whether clients are told about
// changes of it.
func (s *Session) setParameter(name, value string, report bool) (parameter, bool) {
	key := strings.ToLower(name)
	known, reported := s.reported[key]
	if reported {
		name = known.name
	}
	p := parameter{name, value}
	if report || reported {
		s.reported[key] = p
		return p, true
	}
	s.set[key] = p
	return p, false
}

// Parameter returns the value of a reported parameter, or of one that the client
// set in this session. Names are matched without case.
func (s *Session) Parameter(name string) (string, bool) {
	key := strings.ToLower(name)
	if p, ok := s.reported[key]; ok {
		return p.value, true
	}
	p, ok := s.set[key]
	return p.value, ok
}

// Parameters lists what Parameter knows, under its usual spelling.
func (s *Session) Parameters() map[string]string {
	all := make(map[string]string, len(s.reported)+len(s.set))
	for _, p := range s.set {
		all[p.name] = p.value
	}
	for _, p := range s.reported {
		all[p.name] = p.value
	}
	return all
}
