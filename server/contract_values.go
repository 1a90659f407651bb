package server

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/oapi-codegen/nullable"
)

// encodeObject encodes an object of any members, whose size the contract bounds; nil is empty.
func encodeObject[M ~map[string]V, V any](field string, m M) (string, error) {
	if m == nil {
		return "{}", nil
	}
	b, err := json.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("encode %s: %w", field, err)
	}
	return string(b), nil
}

// decodeObject is the reverse of encodeObject.
func decodeObject[M ~map[string]V, V any](text string) M {
	m := M{}
	_ = json.Unmarshal([]byte(text), &m) // the database accepts objects only
	return m
}

// mapSlice returns f of each row; never nil.
func mapSlice[R, J any](rows []R, f func(R) J) []J {
	out := make([]J, len(rows))
	for i, r := range rows {
		out[i] = f(r)
	}
	return out
}

// setIfGiven sets v to the given value, if there is one.
func setIfGiven[T any](v, given *T) {
	if given != nil {
		*v = *given
	}
}

// orEmpty returns list, which is null in JSON when it is nil, or an empty one.
func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func orTrue(p *bool) bool { return p == nil || *p }

func orZero[T any](p *T) T {
	var zero T
	if p == nil {
		return zero
	}
	return *p
}

func orNull[T any](p *T) nullable.Nullable[T] {
	if p == nil {
		return nullable.NewNullNullable[T]()
	}
	return nullable.NewNullableWithValue(*p)
}

func timeOrNull(t *time.Time) nullable.Nullable[time.Time] {
	if t == nil {
		return nullable.NewNullNullable[time.Time]()
	}
	return nullable.NewNullableWithValue(t.UTC())
}

// valueOrNil returns nil for null and for an absent member.
func valueOrNil[T any](n nullable.Nullable[T]) *T {
	v, err := n.Get()
	if err != nil {
		return nil
	}
	return &v
}
