// Package access is what the servers' configuration says about who may connect:
// the flags that safekeeper and pageserver share, the authentication policy and
// TLS settings made of them, and the rule that nothing without authentication
// listens beyond this machine unless that was asked for by name.
//
// The methods of authentication are package auth's.
package access
