package ingest

import "errors"

// Why a record cannot be understood.
var (
	errTruncated = errors.New("record is too short")
	errUnknown   = errors.New("operation is unknown")
)
