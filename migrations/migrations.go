// Package migrations holds the numbered SQL pairs that make and unmake the schema.
package migrations

import "embed"

// FS holds NNNN_name.up.sql and NNNN_name.down.sql, as golang-migrate names them.
//
//go:embed *.sql
var FS embed.FS
