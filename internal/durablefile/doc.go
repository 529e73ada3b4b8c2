// Package durablefile replaces small files of the machine's own file system: after a
// crash at any moment the old content is there or the new one, and the new one once
// the call has returned.
//
// What has to be tested on disks that lose what was not synced goes through pebble's
// vfs instead; see package datadir.
package durablefile
