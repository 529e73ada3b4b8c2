package admin

// Object identifiers of the column types in use (pg_type.dat).
const (
	TypeBool uint32 = 16
	TypeInt8 uint32 = 20
	TypeInt4 uint32 = 23
	TypeText uint32 = 25
)

// Column is one column of a result.
type Column struct {
	Name    string
	Type    uint32 // pg_type OID; 0 is text
	TypeLen int16  // pg_type.typlen; 0 is that of Type
	Help    string // one line for HELP and documentation
}

// Text makes columns of type text.
func Text(names ...string) []Column {
	columns := make([]Column, len(names))
	for i, name := range names {
		columns[i].Name = name
	}
	return columns
}
