package admin

import (
	"strings"

	"github.com/walhaven/walhaven/wal"
)

// ReplicationCommand is one of the types of this file and of push.go.
type ReplicationCommand interface{ replicationCommand() }

// Replication commands of PostgreSQL 14 to 18 (repl_gram.y).
type (
	// IdentifySystem is IDENTIFY_SYSTEM.
	IdentifySystem struct{}
	// Show is SHOW name; the name is folded to lower case unless quoted.
	Show struct{ Name string }
	// TimelineHistory is TIMELINE_HISTORY n.
	TimelineHistory struct{ TLI wal.TLI }
	// CreateSlot is CREATE_REPLICATION_SLOT. Options of logical slots are kept
	// unread.
	CreateSlot struct {
		Slot       string
		Temporary  bool
		Logical    bool
		Plugin     string
		ReserveWAL bool
		Options    []Option
	}
	// ReadSlot is READ_REPLICATION_SLOT.
	ReadSlot struct{ Slot string }
	// AlterSlot is ALTER_REPLICATION_SLOT.
	AlterSlot struct {
		Slot    string
		Options []Option
	}
	// DropSlot is DROP_REPLICATION_SLOT.
	DropSlot struct {
		Slot string
		Wait bool
	}
	// StartReplication is START_REPLICATION. TLI is 0 when none was named. Term
	// is Neon's and our option for a recovering proposer.
	StartReplication struct {
		Slot    string
		Logical bool
		Start   wal.LSN
		TLI     wal.TLI
		Term    *wal.Term
		Options []Option
	}
	// BaseBackup is BASE_BACKUP; the bare words of version 14 become options of
	// the same meaning.
	BaseBackup struct{ Options []Option }
	// UploadManifest is UPLOAD_MANIFEST.
	UploadManifest struct{}
)

func (IdentifySystem) replicationCommand()   {}
func (Show) replicationCommand()             {}
func (TimelineHistory) replicationCommand()  {}
func (CreateSlot) replicationCommand()       {}
func (ReadSlot) replicationCommand()         {}
func (AlterSlot) replicationCommand()        {}
func (DropSlot) replicationCommand()         {}
func (StartReplication) replicationCommand() {}
func (BaseBackup) replicationCommand()       {}
func (UploadManifest) replicationCommand()   {}

// productions maps the first word of a command to what reads the rest.
var productions = map[string]func(*parser) (ReplicationCommand, error){
	"IDENTIFY_SYSTEM":         func(*parser) (ReplicationCommand, error) { return IdentifySystem{}, nil },
	"SHOW":                    (*parser).show,
	"TIMELINE_HISTORY":        (*parser).timelineHistory,
	"CREATE_REPLICATION_SLOT": (*parser).createSlot,
	"READ_REPLICATION_SLOT":   (*parser).readSlot,
	"ALTER_REPLICATION_SLOT":  (*parser).alterSlot,
	"DROP_REPLICATION_SLOT":   (*parser).dropSlot,
	"START_REPLICATION":       (*parser).startReplication,
	"BASE_BACKUP":             (*parser).baseBackup,
	"UPLOAD_MANIFEST":         func(*parser) (ReplicationCommand, error) { return UploadManifest{}, nil },
	"START_WAL_PUSH":          (*parser).startWALPush,
	"TIMELINE_STATUS":         func(*parser) (ReplicationCommand, error) { return TimelineStatus{}, nil },
	"WAL_DIGEST":              (*parser).walDigest,
}

// IsReplication says whether the text of a Query is a replication command. Only
// its first word decides, in upper case and with nothing but white space
// before it, as in exec_replication_command.
func IsReplication(query string) bool {
	_, ok := productions[firstWord(query)]
	return ok
}

func firstWord(query string) string {
	query = strings.TrimLeft(query, " \t\n\r\v\f")
	i := 0
	for i < len(query) && (isLetter(query[i]) || isDigit(query[i]) || query[i] == '$') {
		i++
	}
	return query[:i]
}

// ParseReplication reads a replication command, with or without its semicolon.
// It returns nil, nil for other text; errors are of type *Error.
func ParseReplication(query string) (ReplicationCommand, error) {
	production := productions[firstWord(query)]
	if production == nil {
		return nil, nil
	}
	p, err := newParser(query)
	if err != nil {
		return nil, err
	}
	p.take()
	cmd, err := production(p)
	if err != nil {
		return nil, err
	}
	if err := p.end(); err != nil {
		return nil, err
	}
	return cmd, nil
}

func (p *parser) show() (ReplicationCommand, error) {
	t := p.take()
	if t.kind == tokenQuoted {
		return Show{Name: t.text}, nil
	}
	for _, part := range strings.Split(t.text, ".") {
		if t.kind != tokenWord || !isIdentifier(part) {
			return nil, syntaxError()
		}
	}
	return Show{Name: lower(t.text)}, nil
}

func (p *parser) timelineHistory() (ReplicationCommand, error) {
	tli, err := p.tli()
	return TimelineHistory{TLI: tli}, err
}

func (p *parser) readSlot() (ReplicationCommand, error) {
	slot, err := p.identifier()
	return ReadSlot{Slot: slot}, err
}

func (p *parser) dropSlot() (ReplicationCommand, error) {
	slot, err := p.identifier()
	return DropSlot{Slot: slot, Wait: p.keyword("WAIT")}, err
}

func (p *parser) alterSlot() (ReplicationCommand, error) {
	slot, err := p.identifier()
	if err != nil {
		return nil, err
	}
	options, err := p.options()
	return AlterSlot{Slot: slot, Options: options}, err
}

func (p *parser) startReplication() (ReplicationCommand, error) {
	var c StartReplication
	var err error
	if p.keyword("SLOT") {
		if c.Slot, err = p.identifier(); err != nil {
			return nil, err
		}
	}
	if c.Slot != "" && p.keyword("LOGICAL") {
		c.Logical = true
	} else {
		p.keyword("PHYSICAL")
	}
	if c.Start, err = p.lsn(); err != nil {
		return nil, err
	}
	if !c.Logical && p.keyword("TIMELINE") {
		if c.TLI, err = p.tli(); err != nil {
			return nil, err
		}
	}
	if p.peek().is("(") {
		if c.Options, err = p.options(); err != nil {
			return nil, err
		}
	}
	return c.withTerm()
}

// withTerm takes the option "term" out of a physical command's list.
func (c StartReplication) withTerm() (ReplicationCommand, error) {
	for _, o := range c.Options {
		if c.Logical || o.Name != "term" {
			continue
		}
		n, err := parseUint(o.Name, o.Value)
		if err != nil {
			return nil, err
		}
		term := wal.Term(n)
		c.Term = &term
	}
	return c, nil
}

func (p *parser) baseBackup() (ReplicationCommand, error) {
	if p.peek().is("(") {
		options, err := p.options()
		return BaseBackup{Options: options}, err
	}
	var c BaseBackup
	for {
		o, err := p.legacyBackupOption()
		if err != nil || o.Name == "" {
			return c, err
		}
		c.Options = append(c.Options, o)
	}
}

// legacyBackupOption reads one bare word of version 14; none leaves the name
// empty.
func (p *parser) legacyBackupOption() (o Option, err error) {
	o.HasValue = true
	switch {
	case p.keyword("LABEL"):
		o.Name = "label"
	case p.keyword("MANIFEST"):
		o.Name = "manifest"
	case p.keyword("MANIFEST_CHECKSUMS"):
		o.Name = "manifest_checksums"
	case p.keyword("PROGRESS"):
		return Option{Name: "progress"}, nil
	case p.keyword("WAL"):
		return Option{Name: "wal"}, nil
	case p.keyword("TABLESPACE_MAP"):
		return Option{Name: "tablespace_map"}, nil
	case p.keyword("FAST"):
		return Option{Name: "checkpoint", Value: "fast", HasValue: true}, nil
	case p.keyword("NOWAIT"):
		return Option{Name: "wait", Value: "0", HasValue: true}, nil
	case p.keyword("NOVERIFY_CHECKSUMS"):
		return Option{Name: "verify_checksums", Value: "0", HasValue: true}, nil
	case p.keyword("MAX_RATE"):
		t := p.take()
		if t.kind != tokenWord || !isDigit(t.text[0]) {
			return Option{}, syntaxError()
		}
		return Option{Name: "max_rate", Value: t.text, HasValue: true}, nil
	default:
		return Option{}, nil
	}
	o.Value, err = p.str()
	return o, err
}
