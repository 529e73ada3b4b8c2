package walrecord

// Identify returns the name that pg_waldump prints for the record's operation,
// as UNKNOWN (f0) for one that r's version does not have.
func Identify(r *Record) string { panic("todo") }
