// Package protocol is the server side of PostgreSQL's wire protocol as walhaven
// speaks it: start-up with TLS and cancel requests, the simple and the extended
// query protocol for a table of text commands, and CopyBoth streams.
//
// The order of a connection is
//
//  1. preamble: SSLRequest, direct TLS, GSSENCRequest, CancelRequest (startup.go);
//  2. authentication by an Authenticator (package auth implements it);
//  3. Handler.Begin, which resolves what the session talks about;
//  4. commands: Handler.Execute writes to a ResultWriter, and may turn the
//     connection into a CopyStream and back again;
//  5. Handler.End.
//
// A CopyStream also serves the client side of a stream, after the connection
// was taken over from pgconn.
//
// What does not live here: the grammar of commands (protocol/admin), the
// messages inside CopyData (protocol/walstream, protocol/pushwal), methods of
// authentication (auth), and any meaning of a command.
//
// Message formats: https://www.postgresql.org/docs/current/protocol-message-formats.html
package protocol
