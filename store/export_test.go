package store

// What tests need of the inside.
var (
	Int32s      = int32s
	Timestamps  = timestamps
	Float8s     = float8s
	StatusCodes = statusCodes
	Int16s      = int16s
	Explain     = explain
	DayOf       = dayOf
	ID          = id
)

// Connector is connector without parameters.
var Connector = connector

// RollUpAtOnce has s gather no changes.
func RollUpAtOnce(s *Store) { s.rollupRest = 0 }
