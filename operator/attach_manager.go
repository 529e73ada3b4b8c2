package operator

import (
	"fmt"
	"strings"

	"github.com/walhaven/walhaven/internal/syncrep"
)

// Managers of PostgreSQL that write its settings themselves.
const (
	managedByPatroni = "patroni"
	managedByCNPG    = "cloudnativepg"
)

// lineToChoose is what to tell an operator whose synchronous_standby_names is
// not ours to change: because others are named there, or because a manager
// writes it.
func lineToChoose(manager, value, source string) string {
	l, err := syncrep.Parse(value)
	var b strings.Builder
	switch {
	case err != nil || len(l.Names) > 0:
		fmt.Fprintf(&b, "synchronous_standby_names is '%s' (%s) and stays as it is: commits do not wait for the quorum yet.\n", value, source)
	default:
		fmt.Fprintf(&b, "synchronous_standby_names is empty and %s writes it: commits do not wait for the quorum yet.\n", manager)
	}
	switch manager {
	case managedByPatroni:
		b.WriteString("Choose it for Patroni, with synchronous_mode off (patronictl edit-config), and keep Patroni from dropping the slot:\n" +
			"  ignore_slots:\n  - name: " + defaultSlot + "\n    type: physical\n" +
			"  postgresql:\n    parameters:\n      synchronous_standby_names: '" + standbyName + "'\n")
	case managedByCNPG:
		b.WriteString("Choose it in the Cluster's manifest (CloudNativePG 1.24 or newer):\n" +
			"  spec:\n    postgresql:\n      synchronous:\n        method: first\n        number: 1\n" +
			"        maxStandbyNamesFromCluster: 0\n        standbyNamesPre: [" + standbyName + "]\n")
	default:
		b.WriteString("Choose one of these lines where it is set, and reload:\n" +
			"  synchronous_standby_names = '" + standbyName + "'    # commits wait for the quorum\n" +
			"  synchronous_standby_names = '" + l.WithAll(standbyName).String() + "'    # and for each of the others\n" +
			"With ANY, or a smaller number than there are names, commits can return that the quorum lacks.\n")
	}
	return b.String()
}
