package admin

// Object identifiers of the column types in use (pg_type.dat).
const (
	TypeBool  uint32 = 16
	TypeBytea uint32 = 17
	TypeInt8  uint32 = 20
	TypeInt4  uint32 = 23
	TypeText  uint32 = 25
)

// Column is one column of a result.
type Column struct {
	Name string
	Type uint32 // pg_type OID; 0 is text
	Help string // one line for HELP and the documentation
}

// Wire returns the type OID and pg_type.typlen that RowDescription carries.
func (c Column) Wire() (oid uint32, size int16) {
	switch c.Type {
	case 0:
		return TypeText, -1
	case TypeBool:
		return c.Type, 1
	case TypeInt4:
		return c.Type, 4
	case TypeInt8:
		return c.Type, 8
	default:
		return c.Type, -1
	}
}

// Text makes columns of type text.
func Text(names ...string) []Column {
	columns := make([]Column, len(names))
	for i, name := range names {
		columns[i].Name = name
	}
	return columns
}
