package admin

import (
	"encoding"
	"encoding/hex"
	"fmt"
	"reflect"
	"strconv"
)

// Bytea is a value of type bytea, in the text form "\\x" and hexadecimal digits.
type Bytea []byte

// AppendValue appends the text form of a row's value, which psql, the HTTP
// interface and the walhaven tool share: strings as they are, integers in
// decimal, booleans as t and f, []byte as it is, encoding.TextMarshaler and
// fmt.Stringer by their method, other numbers and strings by their kind. nil is NULL
// and appends nothing.
func AppendValue(dst []byte, v any) (out []byte, null bool, err error) {
	switch v := v.(type) {
	case nil:
		return dst, true, nil
	case string:
		return append(dst, v...), false, nil
	case []byte:
		return append(dst, v...), v == nil, nil
	case Bytea:
		if v == nil {
			return dst, true, nil
		}
		return hex.AppendEncode(append(dst, `\x`...), v), false, nil
	case bool:
		if v {
			return append(dst, 't'), false, nil
		}
		return append(dst, 'f'), false, nil
	case int:
		return strconv.AppendInt(dst, int64(v), 10), false, nil
	case int32:
		return strconv.AppendInt(dst, int64(v), 10), false, nil
	case int64:
		return strconv.AppendInt(dst, v, 10), false, nil
	case uint32:
		return strconv.AppendUint(dst, uint64(v), 10), false, nil
	case uint64:
		return strconv.AppendUint(dst, v, 10), false, nil
	case float64:
		return strconv.AppendFloat(dst, v, 'f', -1, 64), false, nil
	case fmt.Stringer:
		return append(dst, v.String()...), false, nil
	case encoding.TextMarshaler:
		text, err := v.MarshalText()
		return append(dst, text...), false, err
	}
	return appendNumber(dst, v)
}

// appendNumber takes the defined types whose underlying type is a number or a
// string, e.g. wal.Term.
func appendNumber(dst []byte, v any) ([]byte, bool, error) {
	r := reflect.ValueOf(v)
	switch {
	case r.CanInt():
		return strconv.AppendInt(dst, r.Int(), 10), false, nil
	case r.CanUint():
		return strconv.AppendUint(dst, r.Uint(), 10), false, nil
	case r.Kind() == reflect.String:
		return append(dst, r.String()...), false, nil
	}
	return dst, false, fmt.Errorf("value of type %T has no text form", v)
}
