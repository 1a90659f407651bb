package server

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/oapi-codegen/nullable"
)

// object encodes the free object of field, which the contract bounds; nil is the empty one.
func object[M ~map[string]V, V any](field string, m M) (string, error) {
	if m == nil {
		return "{}", nil
	}
	b, err := json.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("encode %s: %w", field, err)
	}
	return string(b), nil
}

// members is the reverse of object for what the database keeps.
func members[M ~map[string]V, V any](text string) M {
	m := M{}
	_ = json.Unmarshal([]byte(text), &m) // the database has checked that it is an object
	return m
}

// each returns f of every row; never nil.
func each[R, J any](rows []R, f func(R) J) []J {
	out := make([]J, len(rows))
	for i, r := range rows {
		out[i] = f(r)
	}
	return out
}

// replace sets v to what was given, if it was.
func replace[T any](v, given *T) {
	if given != nil {
		*v = *given
	}
}

// listed is list as the contract has it: never null.
func listed(list []string) []string {
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

// pointer is nil for null and for a member that is absent.
func pointer[T any](n nullable.Nullable[T]) *T {
	v, err := n.Get()
	if err != nil {
		return nil
	}
	return &v
}
