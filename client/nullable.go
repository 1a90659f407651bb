package oei

import "github.com/oapi-codegen/nullable"

// Nullable is a member that may be absent, null or a value.
type Nullable[T any] = nullable.Nullable[T]

// Value returns a member with a value.
func Value[T any](v T) Nullable[T] { return nullable.NewNullableWithValue(v) }

// Null returns a member that is null.
func Null[T any]() Nullable[T] { return nullable.NewNullNullable[T]() }
