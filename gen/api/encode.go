// Package api contains the models and the strict server interface that ./task gen generates from
// openapi.yaml. This file alone is written by hand.
package api

import (
	"io"

	"github.com/oei-ms/oei-ms/internal/timejson"
)

// encode writes an answer with all of its times in one format. ./task gen replaces the calls of
// encoding/json in the generated code by calls of encode.
func encode(w io.Writer, v any) error { return timejson.Encode(w, v) }

// MarshalJSON writes the time in the same format where nullable.Nullable, which uses encoding/json,
// holds a TimedValue.
func (v TimedValue) MarshalJSON() ([]byte, error) {
	type plain TimedValue
	return timejson.Marshal(plain(v))
}
