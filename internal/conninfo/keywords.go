package conninfo

import (
	"errors"
	"slices"
	"strings"
)

// keywords are what libpq of PostgreSQL 18 takes (fe-connect.c, PQconninfoOptions).
var keywords = strings.Fields(`application_name channel_binding client_encoding connect_timeout dbname
	fallback_application_name gssdelegation gssencmode gsslib host hostaddr keepalives keepalives_count keepalives_idle
	keepalives_interval krbsrvname load_balance_hosts max_protocol_version min_protocol_version oauth_client_id
	oauth_client_secret oauth_issuer oauth_scope options passfile password port replication require_auth requirepeer
	requiressl scram_client_key scram_server_key service servicefile ssl_max_protocol_version ssl_min_protocol_version
	sslcert sslcertmode sslcompression sslcrl sslcrldir sslkey sslkeylogfile sslmode sslnegotiation sslpassword
	sslrootcert sslsni target_session_attrs tcp_user_timeout user`)

// Check says that a connection string has a keyword that libpq does not take: with a
// misspelt host another server would be connected to. It quotes nothing, as Parse.
func Check(s string) error {
	settings, err := Parse(s)
	if err != nil {
		return err
	}
	for name := range settings {
		if !slices.Contains(keywords, name) {
			return errUnknown
		}
	}
	return nil
}

var errUnknown = errors.New("connection string: it has a keyword that libpq does not know; keywords are host, port, user, dbname and so on, and a value with a space needs quotes")
