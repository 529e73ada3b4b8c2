package walrecord

// AppendDescription adds r to dst as one line of pg_waldump, without the
// description of main data and without a line feed.
func AppendDescription(dst []byte, r *Record) []byte { panic("todo") }

// Describe is AppendDescription as a string.
func Describe(r *Record) string { return string(AppendDescription(nil, r)) }
