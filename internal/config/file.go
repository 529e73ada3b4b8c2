package config

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// parseFile reads a TOML file whose top-level keys are among keys. Values are
// strings, or lists of strings, in the form that a flag takes.
func parseFile(path string, text []byte, keys []string) (map[string]any, error) {
	// The decoder is strict about structs only, so one is made with a field a key.
	fields := make([]reflect.StructField, len(keys))
	for i, key := range keys {
		fields[i] = reflect.StructField{
			Name: "F" + strconv.Itoa(i), Type: reflect.TypeFor[any](), Tag: reflect.StructTag(`toml:"` + key + `"`),
		}
	}
	target := reflect.New(reflect.StructOf(fields))
	decoder := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields()
	if err := decoder.Decode(target.Interface()); err != nil {
		return nil, fileError(path, err, keys)
	}
	values := map[string]any{}
	for i, key := range keys {
		value := target.Elem().Field(i).Interface()
		if value == nil {
			continue
		}
		converted, err := flagForm(value)
		if err != nil {
			return nil, fmt.Errorf("%s: key %q: %w", path, key, err)
		}
		values[key] = converted
	}
	return values, nil
}

// fileError names the place, and for an unknown key the nearest known one.
func fileError(path string, err error, keys []string) error {
	var missing *toml.StrictMissingError
	if errors.As(err, &missing) && len(missing.Errors) > 0 {
		first := missing.Errors[0]
		line, _ := first.Position()
		key := strings.Join(first.Key(), ".")
		return fmt.Errorf("%s:%d: unknown key %q: did you mean %q?", path, line, key, nearest(key, keys))
	}
	var syntax *toml.DecodeError
	if errors.As(err, &syntax) {
		line, column := syntax.Position()
		return fmt.Errorf("%s:%d:%d: %w", path, line, column, err)
	}
	return fmt.Errorf("%s: %w", path, err)
}

// flagForm turns a TOML value into what would be typed after the flag.
func flagForm(value any) (any, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case bool, int64, float64:
		return fmt.Sprint(v), nil
	case []any:
		list := make([]any, len(v))
		for i, element := range v {
			converted, err := flagForm(element)
			if err != nil {
				return nil, err
			}
			if _, nested := converted.([]any); nested {
				return nil, errors.New("a list in a list is no setting")
			}
			list[i] = converted
		}
		return list, nil
	default:
		return nil, errors.New("want a string, a number, true, false, or a list of these")
	}
}

// nearest returns the key with the fewest changes to name; keys is not empty.
func nearest(name string, keys []string) string {
	best, least := "", 1<<30
	for _, key := range keys {
		if d := distance(strings.ReplaceAll(name, "_", "-"), key); d < least {
			best, least = key, d
		}
	}
	return best
}

// distance is Levenshtein's: insertions, deletions and replacements of bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
