// Package api is generated from openapi.yaml, but for this file.
package api

import (
	"io"

	"github.com/oei-ms/oei-ms/internal/timejson"
)

// encode writes an answer. `./task gen` has the generated code call it in place of encoding/json. This file is written by hand.
func encode(w io.Writer, v any) error { return timejson.Encode(w, v) }

// MarshalJSON is called where an TimedValue may be null, which encoding/json then writes.
func (i TimedValue) MarshalJSON() ([]byte, error) {
	type plain TimedValue
	return timejson.Marshal(plain(i))
}
