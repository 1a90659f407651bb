// Package timejson encodes JSON as encoding/json does, but writes every time in UTC with
// microseconds. Server, push and notify encode answers, live alarm events and notifications with
// it.
package timejson

import (
	"io"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	v1 "github.com/go-json-experiment/json/v1"
	"github.com/oapi-codegen/nullable"

	"github.com/oei-ms/oei-ms/internal/rfc3339"
)

var options = json.JoinOptions(v1.DefaultOptionsV1(), json.WithMarshalers(json.JoinMarshalers(
	json.MarshalToFunc(func(e *jsontext.Encoder, t time.Time) error { return write(e, t) }),
	json.MarshalToFunc(func(e *jsontext.Encoder, t nullable.Nullable[time.Time]) error {
		if v, err := t.Get(); err == nil {
			return write(e, v)
		}
		return e.WriteToken(jsontext.Null)
	}),
)))

func write(e *jsontext.Encoder, t time.Time) error {
	return e.WriteToken(jsontext.String(rfc3339.Format(t)))
}

// Marshal returns the JSON of v.
func Marshal(v any) ([]byte, error) { return json.Marshal(v, options) }

// Encode writes the JSON of v and a line feed.
func Encode(w io.Writer, v any) error {
	b, err := Marshal(v)
	if err == nil {
		_, err = w.Write(append(b, '\n'))
	}
	return err
}
