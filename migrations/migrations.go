// Package migrations holds the SQL files that create and drop the schema, a pair for each topic.
package migrations

import "embed"

// FS holds NNNN_name.up.sql and NNNN_name.down.sql, as golang-migrate names them. Numbers begin at
// 20: 1 to 19 belong to schemas that were never released, which store.Migrate refuses.
//
//go:embed *.sql
var FS embed.FS
