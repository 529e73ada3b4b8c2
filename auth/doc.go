// Package auth finds out who is connected. Each method implements
// protocol.Authenticator; Policy picks one per connection:
//
//   - Trust, on loopback and on Unix sockets that only their owner can reach;
//   - SCRAM-SHA-256 and SCRAM-SHA-256-PLUS with the verifiers of pg_authid,
//     from a users file;
//   - JWT as password, EdDSA only, with the claims of Neon's services;
//   - one-time tokens, a user name and a password for SCRAM that open one
//     connection: what a program hands to the processes it starts;
//   - client certificates.
//
// It also reloads server certificates. What an identity may do is decided by
// the programs; TLS of outgoing connections is pgconn's.
package auth
