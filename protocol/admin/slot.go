package admin

// maxSlotName is NAMEDATALEN - 1.
const maxSlotName = 63

// CheckSlotName applies ReplicationSlotValidateName.
func CheckSlotName(name string) error {
	if name == "" {
		return Errorf(codeInvalidName, "replication slot name %q is too short", name)
	}
	if len(name) > maxSlotName {
		return Errorf(codeNameTooLong, "replication slot name %q is too long", name)
	}
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && !isDigit(c) && c != '_' {
			return Errorf(codeInvalidName, "replication slot name %q contains invalid character", name).
				WithHint("Replication slot names may only contain lower case letters, numbers, and the underscore character.")
		}
	}
	return nil
}

func (p *parser) createSlot() (ReplicationCommand, error) {
	var c CreateSlot
	var err error
	if c.Slot, err = p.identifier(); err != nil {
		return nil, err
	}
	c.Temporary = p.keyword("TEMPORARY")
	switch {
	case p.keyword("PHYSICAL"):
		err = p.physicalSlot(&c)
	case p.keyword("LOGICAL"):
		err = p.logicalSlot(&c)
	default:
		err = syntaxError()
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (p *parser) physicalSlot(c *CreateSlot) (err error) {
	if p.keyword("RESERVE_WAL") {
		c.ReserveWAL = true
	} else if p.peek().is("(") {
		if c.Options, err = p.options(); err != nil {
			return err
		}
	}
	for i, o := range c.Options {
		switch o.Name {
		case "reserve_wal":
			if i > 0 {
				return Errorf(codeSyntaxError, "conflicting or redundant options")
			}
			if c.ReserveWAL, err = o.Bool(); err != nil {
				return err
			}
		case "snapshot", "two_phase", "failover":
			return Errorf(codeSyntaxError, "conflicting or redundant options")
		default:
			return Errorf(codeInternalError, "unrecognized option: %s", o.Name)
		}
	}
	return nil
}

func (p *parser) logicalSlot(c *CreateSlot) (err error) {
	c.Logical = true
	if c.Plugin, err = p.identifier(); err != nil {
		return err
	}
	if p.peek().is("(") {
		c.Options, err = p.options()
		return err
	}
	for {
		switch {
		case p.keyword("EXPORT_SNAPSHOT"):
			c.Options = append(c.Options, Option{Name: "snapshot", Value: "export", HasValue: true})
		case p.keyword("NOEXPORT_SNAPSHOT"):
			c.Options = append(c.Options, Option{Name: "snapshot", Value: "nothing", HasValue: true})
		case p.keyword("USE_SNAPSHOT"):
			c.Options = append(c.Options, Option{Name: "snapshot", Value: "use", HasValue: true})
		case p.keyword("TWO_PHASE"):
			c.Options = append(c.Options, Option{Name: "two_phase"})
		default:
			return nil
		}
	}
}
