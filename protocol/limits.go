package protocol

import "time"

// Bounds on what an unknown or misbehaving peer can make us hold. Lengths are
// compared before anything is allocated for them.
const (
	// maxStartup is PostgreSQL's MAX_STARTUP_PACKET_LENGTH, here with the
	// length word: 8 to 10,000 bytes.
	maxStartup = 10_000
	minStartup = 8
	// maxAuthBody is PG_MAX_AUTH_TOKEN_LENGTH: passwords, tokens and SASL
	// messages before the peer is known.
	maxAuthBody = 65_535
	// maxSmallBody is PQ_SMALL_MESSAGE_LIMIT, for messages that carry a name
	// at most.
	maxSmallBody = 10_000
	// maxResponseBody bounds what a client accepts outside of CopyData:
	// errors, notices, parameters and result rows.
	maxResponseBody = 1 << 20

	defaultMaxQuery       = 1 << 20
	defaultMaxCopyData    = 1<<20 + 64<<10
	defaultMaxConnections = 1000
	defaultAuthTimeout    = 60 * time.Second
	defaultWriteTimeout   = 60 * time.Second

	// defaultMaxWaiting is far above what logs in at once, and bounds what those
	// hold who do not.
	defaultMaxWaiting = 256
	// maxStatements and maxStatementBytes bound the prepared statements and
	// portals of a session; pgx caches 512.
	maxStatements     = 2048
	maxStatementBytes = 16 << 20
	// maxPortalBytes bounds the rows kept for a portal with a row limit.
	maxPortalBytes = 16 << 20
	// cancelGrace is how long writes may go on after the context ended, so
	// that a reason can be sent; the promise is one second for everything.
	cancelGrace = 500 * time.Millisecond
)

// frameLimits holds the longest body allowed for each message type; negative
// means that the type is unknown in this state. Zero is a body that is empty.
type frameLimits [256]int32

// limitsOf makes a table from "types" strings and their limit.
func limitsOf(entries map[string]int) *frameLimits {
	l := new(frameLimits)
	for i := range l {
		l[i] = -1
	}
	for types, limit := range entries {
		for i := range len(types) {
			l[types[i]] = int32(limit)
		}
	}
	return l
}

// authLimits holds before authentication: p is all there is.
func authLimits() *frameLimits {
	return limitsOf(map[string]int{"p": maxAuthBody, "X": maxSmallBody})
}

// commandLimits holds between and during commands. CopyData is admitted because
// a client may still be streaming when our ErrorResponse ended the stream.
func commandLimits(query, copyData int) *frameLimits {
	return limitsOf(map[string]int{
		"QPBF": query, "d": copyData, "DECHSXcf": maxSmallBody,
	})
}

// copyLimits holds for what a client may send inside a CopyBoth stream.
func copyLimits(copyData int) *frameLimits {
	return limitsOf(map[string]int{"d": copyData, "cX": maxSmallBody})
}

// responseLimits holds for what a server may send inside and behind a stream.
func responseLimits(copyData int) *frameLimits {
	return limitsOf(map[string]int{
		"d": copyData, "c": maxSmallBody, "ENSATDC": maxResponseBody, "ZI": maxSmallBody,
	})
}
