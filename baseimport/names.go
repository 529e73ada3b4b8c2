package baseimport

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/walhaven/walhaven/pagekey"
	"github.com/walhaven/walhaven/wal/walrecord"
)

// Tablespaces that always exist.
const (
	spaceDefault = 1663
	spaceGlobal  = 1664
)

// relSegBlocks is the length of a relation's segment file in blocks
// (RELSEG_SIZE).
const relSegBlocks = 131072

// kind is what a file of a data directory is to an import.
type kind uint8

const (
	kindSkip     kind = iota
	kindRelation      // a segment of a relation's fork
	kindSLRU          // a segment of an SLRU
	kindRelMap
	kindTwoPhase
	kindOrigins
	kindControl
	kindLabel
	kindMap // tablespace_map
	kindVersion
)

// file is a member of an archive, named.
type file struct {
	kind    kind
	rel     walrecord.RelFile // relation maps and versions: without a relation
	fork    walrecord.Fork
	segment uint32 // of a relation or an SLRU
	slru    pagekey.SLRU
	xid     uint32
}

var (
	relationName = regexp.MustCompile(`^([1-9][0-9]{0,9})(?:_(fsm|vm|init))?(?:\.([1-9][0-9]{0,5}))?$`)
	versionName  = regexp.MustCompile(`^PG_[0-9]+_[0-9]+$`)
	forkNames    = map[string]walrecord.Fork{
		"": walrecord.ForkMain, "fsm": walrecord.ForkFSM, "vm": walrecord.ForkVM, "init": walrecord.ForkInit,
	}
	slruFolders = map[string]pagekey.SLRU{
		"pg_xact": pagekey.CLOG, "pg_multixact/members": pagekey.MultiXactMembers,
		"pg_multixact/offsets": pagekey.MultiXactOffsets, "pg_commit_ts": pagekey.CommitTS,
	}
	singles = map[string]kind{
		"global/pg_control": kindControl, "backup_label": kindLabel, "tablespace_map": kindMap, "PG_VERSION": kindVersion,
		"pg_logical/replorigin_checkpoint": kindOrigins,
	}
)

// nameFile says what the member name of the archive of a tablespace is; 0 is the
// archive of the data directory.
func nameFile(space uint32, name string) file {
	name = strings.TrimPrefix(name, "./")
	if space != 0 {
		version, rest, _ := strings.Cut(name, "/")
		if !versionName.MatchString(version) {
			return file{}
		}
		return nameInDatabase(space, rest)
	}
	if k, ok := singles[name]; ok {
		return file{kind: k}
	}
	if rest, ok := strings.CutPrefix(name, "base/"); ok {
		return nameInDatabase(spaceDefault, rest)
	}
	if rest, ok := strings.CutPrefix(name, "global/"); ok {
		return nameInFolder(walrecord.RelFile{Tablespace: spaceGlobal}, rest)
	}
	if folder, last, ok := cutLast(name); ok {
		if slru, ok := slruFolders[folder]; ok {
			return nameSLRU(slru, last)
		}
		if folder == "pg_twophase" {
			return nameTwoPhase(last)
		}
	}
	return file{}
}

func cutLast(name string) (folder, last string, ok bool) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return "", "", false
	}
	return name[:i], name[i+1:], true
}

// nameInDatabase takes the name below a tablespace's folder.
func nameInDatabase(space uint32, name string) file {
	folder, name, _ := strings.Cut(name, "/")
	db, err := strconv.ParseUint(folder, 10, 32)
	if err != nil || db == 0 {
		return file{}
	}
	return nameInFolder(walrecord.RelFile{Tablespace: space, Database: uint32(db)}, name)
}

func nameInFolder(folder walrecord.RelFile, name string) file {
	switch name {
	case "pg_filenode.map":
		return file{kind: kindRelMap, rel: folder}
	case "PG_VERSION", "":
		if folder.Database == 0 {
			return file{}
		}
		return file{kind: kindVersion, rel: folder}
	}
	parts := relationName.FindStringSubmatch(name)
	if parts == nil {
		return file{}
	}
	n, err := strconv.ParseUint(parts[1], 10, 32)
	if err != nil {
		return file{}
	}
	f := file{kind: kindRelation, rel: folder, fork: forkNames[parts[2]]}
	f.rel.Relation = uint32(n)
	if parts[3] != "" {
		n, _ := strconv.ParseUint(parts[3], 10, 32) // Six digits at most.
		f.segment = uint32(n)
	}
	if f.segment >= 1<<32/relSegBlocks {
		return file{}
	}
	return f
}

func nameSLRU(slru pagekey.SLRU, name string) file {
	n, err := strconv.ParseUint(name, 16, 32)
	if err != nil || len(name) < 4 || len(name) > 15 {
		return file{}
	}
	return file{kind: kindSLRU, slru: slru, segment: uint32(n)}
}

// nameTwoPhase takes the name of a state file: the xid, since 17 with its epoch.
func nameTwoPhase(name string) file {
	n, err := strconv.ParseUint(name, 16, 64)
	if err != nil || len(name) != 8 && len(name) != 16 {
		return file{}
	}
	return file{kind: kindTwoPhase, xid: uint32(n)}
}
