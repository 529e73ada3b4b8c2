// Package archtest holds the rules of architecture as tests: which package may
// import which, what pure packages must not touch, and that the map in
// ARCHITECTURE.md is true. They run with a plain `go test ./...`.
//
// A rule that stands in the way is changed here, in the same commit as the code,
// with the reason. What a linter can check belongs into .golangci.yml instead.
package archtest
