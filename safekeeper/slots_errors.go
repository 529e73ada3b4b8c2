package safekeeper

import (
	"strings"

	"github.com/walhaven/walhaven/protocol"
)

// maxSlots bounds the slots of one timeline (max_replication_slots).
const maxSlots = 256

// maxSlotName is NAMEDATALEN - 1.
const maxSlotName = 63

// checkSlotName applies ReplicationSlotValidateName.
func checkSlotName(name string) error {
	switch {
	case name == "":
		return protocol.Errorf(protocol.CodeInvalidName, "replication slot name %q is too short", name)
	case len(name) > maxSlotName:
		return protocol.Errorf(protocol.CodeInvalidName, "replication slot name %q is too long", name)
	case strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "":
		return protocol.Errorf(protocol.CodeInvalidName, "replication slot name %q contains invalid character", name).
			WithHint("Replication slot names may only contain lower case letters, numbers, and the underscore character.")
	}
	return nil
}

func errSlotExists(name string) error {
	return protocol.Errorf(protocol.CodeDuplicateObject, "replication slot %q already exists", name)
}

func errSlotMissing(name string) error {
	return protocol.Errorf(protocol.CodeUndefinedObject, "replication slot %q does not exist", name)
}

func errSlotActive(name string, pid uint32) error {
	return protocol.Errorf(protocol.CodeObjectInUse, "replication slot %q is active for PID %d", name, pid)
}

func errSlotInvalidated(name string) error {
	return protocol.Errorf(protocol.CodeNotInState, "can no longer get changes from replication slot %q", name).
		WithDetail("This slot has been invalidated because it exceeded the maximum reserved size.").
		WithHint("Drop the slot, create it again and take a new base backup of its consumer.")
}

func errTooManySlots() error {
	return protocol.Errorf(protocol.CodeLimitExceeded, "all %d replication slots of this timeline are in use", maxSlots).
		WithHint("Free one with DROP_REPLICATION_SLOT.")
}
