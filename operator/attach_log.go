package operator

import (
	"context"
	"os"

	"github.com/walhaven/walhaven/internal/conninfo"
)

// logFunctions are what the walproposer reads the log of PostgreSQL's logging collector
// with, besides those of pg_monitor.
const logFunctions = "pg_current_logfile(), pg_read_binary_file(text, bigint, bigint, boolean)"

// checkLog tries to read the log that the walproposer is to read.
func (a *attach) checkLog(c *checklist) {
	path := a.o.PostgresLog
	if path == "" {
		return
	}
	f, err := os.Open(path)
	if err == nil {
		err = f.Close()
	}
	what := "PostgreSQL's log " + path + " can be read"
	if err != nil {
		what = "PostgreSQL's log: " + err.Error()
	}
	c.should(err == nil, what, "The walproposer must be able to: usermod -aG adm with its user where the log is the group's (Debian), or chmod. Without, commits that are cancelled while they wait are not recorded.")
}

// mayReadLog asks whether a role may call all of logFunctions in this database; one that
// does not exist may not.
const mayReadLog = `SELECT coalesce(bool_and(has_function_privilege(r.oid, f.f::regprocedure, 'EXECUTE')), false) AS may
	FROM pg_roles r, (VALUES ('pg_current_logfile()'), ('pg_read_binary_file(text,bigint,bigint,boolean)')) AS f (f) WHERE r.rolname = `

// sayLog tells how the walproposer gets to see commits that are cancelled while they
// wait, unless it does.
func (a *attach) sayLog(ctx context.Context) {
	role := a.Attached.Role
	if a.facts["logging_collector"] != "on" {
		if a.Attached.PostgresLog == "" {
			a.say("Commits that are cancelled while they wait are in PostgreSQL's log alone. For walhaven rpo to have them, too, name that file,\n" +
				"which the walproposer's user must be able to read: walhaven attach --postgres-log FILE, or --postgres-log FILE on the walproposer's own line.")
		}
		return
	}
	if row, err := a.pg.one(ctx, mayReadLog+literal(role)); err == nil && row["may"] == "t" {
		return
	}
	a.say("Commits that are cancelled while they wait are in PostgreSQL's log alone. For walhaven rpo to have them, too, the walproposer must be able to\n" +
		"read that. With this grant it can read every file of the data directory:")
	a.say("  psql %s -c %s", shellLine([]string{conninfo.Format(a.admin)}), shellLine([]string{"GRANT EXECUTE ON FUNCTION " + logFunctions + " TO " + ident(role)}))
}

// revokeLog takes back what an operator has granted to the role for that, which would
// keep it from being dropped.
func (a *attach) revokeLog(ctx context.Context) error {
	rows, err := a.pg.rows(ctx, "SELECT 1 FROM pg_proc, aclexplode(proacl) AS a JOIN pg_roles ON pg_roles.oid = a.grantee "+
		"WHERE proname IN ('pg_current_logfile', 'pg_read_binary_file') AND rolname = "+literal(a.Attached.Role))
	if err != nil || len(rows) == 0 {
		return err
	}
	return a.pg.change(ctx, "REVOKE EXECUTE ON FUNCTION "+logFunctions+" FROM "+ident(a.Attached.Role))
}
