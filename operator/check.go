package operator

import (
	"fmt"
	"io"
	"strings"
)

// Exit codes of the plugin convention that Nagios, Icinga and their kin share.
const (
	NagiosOK       = 0
	NagiosWarning  = 1
	NagiosCritical = 2
)

// Severity is the status as a monitoring plugin's exit code: SAFE is fine, no
// spare is a warning, waiting commits are critical; a pageserver that does not
// answer is a warning, since no commit waits for it.
func (s *Status) Severity() int {
	switch s.State {
	case StateWaiting:
		return NagiosCritical
	case StateSafeNoSpare:
		return NagiosWarning
	}
	for _, p := range s.Pageservers {
		if p.Error != "" {
			return NagiosWarning
		}
	}
	return NagiosOK
}

// WriteNagios writes the one line of a plugin, with performance data.
func (s *Status) WriteNagios(w io.Writer) error {
	word := [...]string{"OK", "WARNING", "CRITICAL"}[s.Severity()]
	var perf []string
	for _, n := range s.Safekeepers {
		perf = append(perf, fmt.Sprintf("safekeeper_%d_lag=%dB", n.ID, n.LagBytes))
	}
	for _, n := range s.Pageservers {
		perf = append(perf, fmt.Sprintf("pageserver_%d_lag=%dB", n.ID, n.LagBytes))
	}
	_, err := fmt.Fprintf(w, "WALHAVEN %s - %s: %s | %s\n", word, s.State, s.Reason, strings.Join(perf, " "))
	return err
}

// WriteCheck writes each part as a line that says whether it is well.
func (s *Status) WriteCheck(w io.Writer) error {
	line := func(ok bool, name, detail string) {
		word := "ok    "
		if !ok {
			word = "FAILED"
		}
		fmt.Fprintf(w, "%s  %s: %s\n", word, name, detail)
	}
	line(s.Postgres.Error == "", "postgres", note(s.Postgres.Error, "answers, version "+s.Postgres.Version))
	line(s.Walproposer.Error == "" && s.Walproposer.State == walproposerStreaming, "walproposer",
		note(s.Walproposer.Error, strings.TrimSuffix(s.Walproposer.State+": "+s.Walproposer.Reason, ": ")))
	for _, n := range s.Safekeepers {
		line(n.counts(), nodeName("safekeeper", n.ID), note(n.Error, fmt.Sprintf("flushed up to %s, %s behind", n.FlushLSN, bytesText(n.LagBytes))))
	}
	for _, n := range s.Pageservers {
		line(n.Error == "", nodeName("pageserver", n.ID), note(n.Error, fmt.Sprintf("has WAL up to %s, %s behind", n.LastRecordLSN, bytesText(n.LagBytes))))
	}
	_, err := fmt.Fprintf(w, "%s: %s\n", s.State, s.Reason)
	return err
}
